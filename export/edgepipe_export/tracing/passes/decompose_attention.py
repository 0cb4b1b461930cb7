"""``GroupQueryAttention`` is replaced by standard operators.

In half precision onnxruntime's CPU kernel for it crashes on a mask (1.31), and its CUDA kernel takes none before 1.31.
In fp32 it has no CUDA kernel. The standard operators take the same inputs and give the same outputs, but copy the cache
at every step.
"""

from __future__ import annotations

import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgepipe.errors import ExportError
from edgepipe_export.tracing.graphs.graph_editing import NodeReplacement

OPERATOR = "GroupQueryAttention"


class DecomposeAttentionPass(InPlacePass):
    """Replace every ``GroupQueryAttention`` whose past is given."""

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Replace the nodes.

        Raises:
            ExportError: one has no mask, which would have to be made here.
        """
        found = [node for node in model.graph if node.op_type == OPERATOR]
        for node in found:
            _Decomposition(model.graph, node).replace()
        if found:
            RemoveUnusedNodesPass()(model)  # what only these nodes have read: how many tokens there are
        return PassResult(model, modified=bool(found))


class _Decomposition(NodeReplacement):
    def __init__(self, graph: onnx_ir.Graph, node: onnx_ir.Node) -> None:
        super().__init__(graph, node)
        self.heads, self.kv_heads = (node.attributes[name].as_int() for name in ("num_heads", "kv_num_heads"))

    def replace(self) -> None:
        query, key, value, past_key, past_value = (self._input(index) for index in range(5))
        head_dim = past_key.shape[3] if past_key.shape is not None else None
        bias = self.node.inputs[10] if len(self.node.inputs) > 10 else None
        if not isinstance(head_dim, int) or bias is None:
            raise ExportError(f"{self.node.name} has no mask or no fixed width, so that it cannot be written out")
        keys = self.add("Concat", past_key, self._split_heads(key, self.kv_heads, head_dim), axis=2)
        values = self.add("Concat", past_value, self._split_heads(value, self.kv_heads, head_dim), axis=2)
        self.take_place(1, keys)
        self.take_place(2, values)
        transposed = self.add("Transpose", self._repeat_heads(keys, head_dim), perm=[0, 1, 3, 2])
        factor = self.node.attributes["scale"].as_float()
        scale = self.number(f"attention_scale_{factor}", factor)
        # Before the product, where numbers are smaller.
        scaled = self.add("Mul", self._split_heads(query, self.heads, head_dim), scale)
        scores = self.add("MatMul", scaled, transposed)
        softcap = self.node.attributes["softcap"].as_float() if "softcap" in self.node.attributes else 0.0
        if softcap:
            bound = self.number(f"attention_softcap_{softcap}", softcap)
            scores = self.add("Mul", self.add("Tanh", self.add("Div", scores, bound)), bound)
        weights = self.add("Softmax", self.add("Add", scores, bias), axis=-1)
        output = self.add("MatMul", weights, self._repeat_heads(values, head_dim))
        joined = self._shape("joined", [0, 0, self.heads * head_dim])
        self.take_place(0, self.add("Reshape", self.add("Transpose", output, perm=[0, 2, 1, 3]), joined))
        self.finish()

    def _split_heads(self, states: onnx_ir.Value, heads: int, head_dim: int) -> onnx_ir.Value:
        """[batch, length, heads * head_dim] -> [batch, heads, length, head_dim]."""
        split = self.add("Reshape", states, self._shape(f"apart_{heads}", [0, 0, heads, head_dim]))
        return self.add("Transpose", split, perm=[0, 2, 1, 3])

    def _repeat_heads(self, states: onnx_ir.Value, head_dim: int) -> onnx_ir.Value:
        """[batch, kv_heads, length, head_dim] -> [batch, heads, length, head_dim]."""
        times = self.heads // self.kv_heads
        if times == 1:
            return states
        each = self.add("Unsqueeze", states, self._shape("group_axis", [2]))
        repeated = self.add("Expand", each, self._shape(f"times_{times}", [1, 1, times, 1, 1]))
        # -1 is the length, which 0 could not copy from behind the axis that is joined.
        return self.add("Reshape", repeated, self._shape(f"heads_{self.heads}", [0, self.heads, -1, head_dim]))

    def _input(self, index: int) -> onnx_ir.Value:
        value = self.node.inputs[index]
        if value is None:
            raise ExportError(f"{self.node.name} lacks input {index}, so that it cannot be written out")
        return value

    def _shape(self, name: str, numbers: list[int]) -> onnx_ir.Value:
        return self.numbers("_".join(["shape", name, *map(str, numbers)]), numbers)
