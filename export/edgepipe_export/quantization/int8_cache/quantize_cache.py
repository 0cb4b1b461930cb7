"""``GroupQueryAttention`` keeps its keys and values in 8 bits, a quarter of their memory.

onnxruntime's kernel for that is as fast as the one for fp32 where one token is new, and takes three to five times as
long where many are. So each layer has two branches. With few new tokens the operator reads the 8-bit cache itself. With
many, as in a prompt, the past is made fp32 and the new keys and values are rounded to what the cache will hold; the
operator for fp32 reads both, and the cache gets the new ones. Either way attention is over the same numbers, so that
what a text gives does not depend on the parts it is read in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult

from edgepipe.errors import ExportError
from edgepipe_export.tracing.graphs.graph_editing import NodeReplacement, add_constant
from edgepipe_export.tracing.passes.decompose_attention import OPERATOR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Scales = Mapping[str, NDArray[np.float32]]

# From how many new tokens on the past is made fp32 first.
_MANY = 16
_LOWEST, _HIGHEST = -128.0, 127.0
_DOMAIN = "com.microsoft"
_FLOAT, _INT8, _INT64, _BOOL = (
    onnx_ir.DataType.FLOAT,
    onnx_ir.DataType.INT8,
    onnx_ir.DataType.INT64,
    onnx_ir.DataType.BOOL,
)
# Where the operator has its query, its total length, and the scales of keys and values.
_QUERY, _TOTAL, _KEY_SCALE = 0, 6, 12
_EVERYTHING = 2**62


def quantize_cache(graph: Path, scales: Scales) -> None:
    """Have a graph on disk keep its cache in 8 bits; its weights stay as they are.

    Args:
        graph: A decoder's.
        scales: What to round by: float32[kv_heads, head_dim] by the name of the cache's input.
    """
    model = onnx_ir.load(graph)
    QuantizeCachePass(scales)(model)
    onnx_ir.save(model, graph)


class QuantizeCachePass(InPlacePass):
    """Give every ``GroupQueryAttention`` a cache in 8 bits."""

    def __init__(self, scales: Scales) -> None:
        super().__init__()
        self.scales = scales

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Replace the nodes, and the types of the graph's inputs and outputs.

        Raises:
            ExportError: a part of the cache is read by something else.
        """
        nodes = [node for node in model.graph if node.op_type == OPERATOR]
        read = {value.name for node in nodes for value in node.inputs[3:5] if value is not None}
        missing = sorted(self.scales.keys() - read)
        if missing:
            raise ExportError(f"{', '.join(missing)} is not read by {OPERATOR} alone, and cannot be kept in 8 bits")
        counts = _Counts(model.graph)
        for node in nodes:
            _Quantization(model.graph, node, self.scales, counts).replace()
        return PassResult(model, modified=bool(nodes))


class _Counts:
    """How many tokens there are, as values of the graph, each made once.

    Attributes:
        graph: The graph.
    """

    def __init__(self, graph: onnx_ir.Graph) -> None:
        self.graph = graph
        self._new: onnx_ir.Value | None = None
        self._many: onnx_ir.Value | None = None
        self._lengths: dict[str, tuple[onnx_ir.Value, onnx_ir.Value]] = {}

    def find(self, node: onnx_ir.Node) -> tuple[onnx_ir.Value, onnx_ir.Value, onnx_ir.Value]:
        """For an attention: whether many tokens are new, bool[], and how many are past and how many there are."""
        query, total = node.inputs[_QUERY], node.inputs[_TOTAL]
        assert query is not None
        assert total is not None
        if self._new is None:
            self._new = self._add(node, "new_tokens", _INT64, "Shape", query, start=1, end=2)
            most = add_constant(self.graph, "cache.many", np.array([_MANY], np.int64))
            enough = self._add(node, "enough_new_tokens", _BOOL, "GreaterOrEqual", self._new, most)
            self._many = self._add(node, "many_new_tokens", _BOOL, "Squeeze", enough)
        assert self._many is not None
        name = total.name or ""
        if name not in self._lengths:
            start = add_constant(self.graph, "cache.first", np.array([0], np.int64))
            wide = self._add(node, f"{name}.int64", _INT64, "Cast", total, to=_INT64)
            all_tokens = self._add(node, f"{name}.tokens", _INT64, "Unsqueeze", wide, start)
            past = self._add(node, f"{name}.past", _INT64, "Sub", all_tokens, self._new)
            self._lengths[name] = (past, all_tokens)
        return (self._many, *self._lengths[name])

    def _add(
        self, before: onnx_ir.Node, name: str, dtype: onnx_ir.DataType, operator: str, *inputs: Any, **attributes: Any
    ) -> onnx_ir.Value:
        node = onnx_ir.node(operator, inputs, attributes=attributes, name=f"cache.{name}")
        node.outputs[0].name, node.outputs[0].type = node.name, onnx_ir.TensorType(dtype)
        self.graph.insert_before(before, node)
        return node.outputs[0]


class _Quantization(NodeReplacement):
    """One attention.

    Attributes:
        scales: See :class:`QuantizeCachePass`.
        counts: How many tokens there are.
    """

    def __init__(self, graph: onnx_ir.Graph, node: onnx_ir.Node, scales: Scales, counts: _Counts) -> None:
        super().__init__(graph, node)
        self.scales = scales
        self.counts = counts

    def replace(self) -> None:
        many, past, total = self.counts.find(self.node)
        then = onnx_ir.Graph([], self._read_many(past, total), nodes=self._take_nodes(), name=f"{self.node.name}.many")
        few = self._read_few()
        otherwise = onnx_ir.Graph([], few.outputs, nodes=[few], name=f"{self.node.name}.few")
        choice = onnx_ir.node(
            "If",
            [many],
            attributes={"then_branch": then, "else_branch": otherwise},
            num_outputs=3,
            name=f"{self.node.name}.by_new_tokens",
        )
        for index, (value, dtype) in enumerate(zip(choice.outputs, (_FLOAT, _INT8, _INT8), strict=True)):
            self.take_place(index, value)
            value.type = onnx_ir.TensorType(dtype)
        for state in self.node.inputs[3:5]:
            assert state is not None
            state.type = onnx_ir.TensorType(_INT8)
        self._nodes = [choice]
        self.finish()

    def _take_nodes(self) -> list[onnx_ir.Node]:
        """The nodes that were added, which go to another graph."""
        nodes, self._nodes = self._nodes, []
        return nodes

    def _read_few(self) -> onnx_ir.Node:
        """The operator on the cache as it is."""
        inputs = [*self.node.inputs, *[None] * (_KEY_SCALE - len(self.node.inputs))]
        scales = [self._scale(state, spread=True) for state in self.node.inputs[3:5]]
        attributes = {"kv_cache_bit_width": 8, "k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL"}
        return self._attend([*inputs, *scales], (_FLOAT, _INT8, _INT8), "few", **attributes)

    def _read_many(self, past: onnx_ir.Value, total: onnx_ir.Value) -> list[onnx_ir.Value]:
        """The operator on fp32: what it gives, and the keys and values for the cache."""
        inputs = list(self.node.inputs)
        kept = []
        for new, state in ((1, 3), (2, 4)):
            steps, inputs[new] = self._round(inputs[new], inputs[state])
            inputs[state], before, behind = self._split_past(inputs[state], past, total)
            kept.append(self._add_int8("Concat", before, steps, behind, axis=2))
        attention = self._attend(inputs, (_FLOAT, _FLOAT, _FLOAT), "fp32")
        self._nodes.append(attention)
        return [attention.outputs[0], *kept]

    def _round(self, new: onnx_ir.Value | None, state: onnx_ir.Value | None) -> tuple[onnx_ir.Value, onnx_ir.Value]:
        """New keys or values, [batch, new, kv_heads * head_dim].

        Returns:
            For the cache int8[batch, kv_heads, new, head_dim], and the same numbers in fp32 as they were given.
        """
        assert new is not None
        heads, width = self._array(state).shape
        scale = self._scale(state, spread=False)
        rounded = self.add("Round", self.add("Div", new, scale))
        bounds = self.number("cache.lowest", _LOWEST), self.number("cache.highest", _HIGHEST)
        steps = self.add("Clip", rounded, *bounds)
        shape = self.numbers(f"cache.heads_{heads}_{width}", [0, 0, heads, width])
        split = self._add_int8("Reshape", self._add_int8("Cast", steps, to=_INT8), shape)
        return self._add_int8("Transpose", split, perm=[0, 2, 1, 3]), self.add("Mul", steps, scale)

    def _split_past(
        self, state: onnx_ir.Value | None, past: onnx_ir.Value, total: onnx_ir.Value
    ) -> tuple[onnx_ir.Value, onnx_ir.Value, onnx_ir.Value]:
        """A cache's buffer: its tokens in fp32, the same in 8 bits, and what lies behind all tokens."""
        assert state is not None
        first, axis, last = (
            self.numbers(f"cache.{name}", [number])
            for name, number in (("first", 0), ("axis", 2), ("last", _EVERYTHING))
        )
        before = self._add_int8("Slice", state, first, past, axis)
        behind = self._add_int8("Slice", state, total, last, axis)
        scaled = self.add("Mul", self.add("Cast", before, to=_FLOAT), self._scale(state, spread=True))
        return scaled, before, behind

    def _attend(
        self, inputs: list[Any], dtypes: tuple[onnx_ir.DataType, ...], name: str, **attributes: Any
    ) -> onnx_ir.Node:
        own = {key: each.value for key, each in self.node.attributes.items()}
        node = onnx_ir.node(
            OPERATOR,
            inputs,
            attributes=own | attributes,
            domain=_DOMAIN,
            num_outputs=3,
            name=f"{self.node.name}.{name}",
        )
        for output, dtype, kind in zip(node.outputs, dtypes, ("output", "key", "value"), strict=True):
            output.name, output.type = f"{node.name}.{kind}", onnx_ir.TensorType(dtype)
        return node

    def _add_int8(self, operator: str, *inputs: onnx_ir.Value, **attributes: Any) -> onnx_ir.Value:
        value = self.add(operator, *inputs, **attributes)
        value.type = onnx_ir.TensorType(_INT8)
        return value

    def _array(self, state: onnx_ir.Value | None) -> NDArray[np.float32]:
        assert state is not None
        return self.scales[state.name or ""]

    def _scale(self, state: onnx_ir.Value | None, *, spread: bool) -> onnx_ir.Value:
        """The scales of a cache's input, for its own shape [1, kv_heads, 1, head_dim], or for heads that are joined."""
        assert state is not None
        array = self._array(state)
        if spread:
            return add_constant(self.graph, f"{state.name}.scale", array[None, :, None])
        return add_constant(self.graph, f"{state.name}.joined_scale", array.reshape(-1))
