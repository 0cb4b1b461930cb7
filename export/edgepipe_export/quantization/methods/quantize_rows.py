"""Activations of 8-bit products get a scale for every row, which is a token, instead of one for the whole tensor.

onnxruntime's ``DynamicQuantizeLinear`` finds one scale for all texts of a batch, so each of them moves the results of
all others. With a scale of its own a row is quantized by what it holds, and integer products add up the same in any
batch. No operator of onnxruntime does that, so each row is divided by its largest magnitude, and the product multiplied
by it. Its kernels want one zero point for all rows, so that is a constant.
"""

from __future__ import annotations

import numpy as np
import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgepipe.errors import ExportError
from edgepipe_export.tracing.graphs.graph_editing import NodeReplacement, add_constant

# Codes are unsigned: onnxruntime's kernels for signed ones take many times as long on x86.
_MIDDLE, _STEPS = 128, 127

# What a row of zeros is divided by.
_TINY = 1e-30


class QuantizeRowsPass(InPlacePass):
    """Replace every ``DynamicQuantizeLinear`` and the integer products that read it.

    The graph is as onnxruntime's `quantize_dynamic` writes it.
    """

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Replace the nodes.

        Raises:
            ExportError: a product has another form than onnxruntime's quantizer gives it.
        """
        found = [node for node in model.graph if node.op_type == "DynamicQuantizeLinear"]
        for node in found:
            activations = node.inputs[0]
            assert activations is not None
            rows = _Rows(model.graph, node)
            codes, peaks = rows.quantize(activations)
            for usage in list(node.outputs[0].uses()):
                _Product(model.graph, usage.node).replace(codes, peaks)
            rows.put_in()
        if found:
            model.opset_imports.setdefault("com.microsoft", 1)
            RemoveUnusedNodesPass()(model)
        return PassResult(model, modified=bool(found))


class _Rows(NodeReplacement):
    def quantize(self, activations: onnx_ir.Value) -> tuple[onnx_ir.Value, onnx_ir.Value]:
        """The codes, uint8[..., channels], and what a row of them is to be multiplied by, float32[..., 1]."""
        last = self.numbers("last_axis", [-1])
        high, low = (self.add(operator, activations, last, keepdims=1) for operator in ("ReduceMax", "ReduceMin"))
        peaks = self.add("Max", high, self.add("Neg", low), self.number("least_peak", _TINY))
        divided = self.add("Div", activations, peaks)
        codes = self.add("QuantizeLinear", divided, self.number("row_step", 1 / _STEPS), _middle(self.graph))
        codes.type = onnx_ir.TensorType(onnx_ir.DataType.UINT8)
        return codes, peaks

    def put_in(self) -> None:
        """Put the nodes before the one whose outputs nothing reads any more."""
        self.graph.insert_before(self.node, self._nodes)


class _Product(NodeReplacement):
    def replace(self, codes: onnx_ir.Value, peaks: onnx_ir.Value) -> None:
        cast = self._reader(self.node, "Cast")
        scaled = self._reader(cast, "Mul")
        factors = next(value for value in scaled.inputs if value is not cast.outputs[0])
        both = None if factors is None else factors.producer()
        scales = [value for value in (both.inputs if both is not None else ()) if _is_constant(value)]
        if len(scales) != 1 or scales[0] is None:
            raise self._unknown()
        weight, zero = self.node.inputs[1], self.node.inputs[3]
        assert weight is not None
        assert zero is not None
        product = onnx_ir.node(
            "MatMulIntegerToFloat",
            [codes, weight, self.number("row_step", 1 / _STEPS), scales[0], _middle(self.graph), zero],
            domain="com.microsoft",
            name=f"{self.node.name}_rows",
        )
        value = product.outputs[0]
        value.name, value.type = product.name, onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
        value.shape = scaled.outputs[0].shape
        self._nodes.append(product)
        result = self.add("Mul", value, peaks)
        before = scaled.outputs[0]
        result.name, result.shape = before.name, before.shape
        before.name = f"{before.name}_before"
        onnx_ir.convenience.replace_all_uses_with(before, result, replace_graph_outputs=True)
        self.graph.insert_before(scaled, self._nodes)

    def _reader(self, node: onnx_ir.Node, op_type: str) -> onnx_ir.Node:
        readers = [usage.node for usage in node.outputs[0].uses()]
        if len(readers) != 1 or readers[0].op_type != op_type:
            raise self._unknown()
        return readers[0]

    def _unknown(self) -> ExportError:
        return ExportError(
            f"{self.node.name} is not quantized as onnxruntime does it, so its rows cannot have scales of their own; "
            "try int8 or w8"
        )


def _middle(graph: onnx_ir.Graph) -> onnx_ir.Value:
    """The code of zero, uint8[]."""
    return add_constant(graph, "row_zero_point", np.array(_MIDDLE, np.uint8))


def _is_constant(value: onnx_ir.Value | None) -> bool:
    return value is not None and value.const_value is not None and not value.is_graph_input()
