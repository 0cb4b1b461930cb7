"""Reshapes that lead back to where they began are removed."""

from __future__ import annotations

import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult


class RemoveIdleReshapesPass(InPlacePass):
    """Bypass runs of ``Reshape`` at whose end a tensor has the shape it began with.

    Attention splits the width into heads, and the operator that attends wants them together again. The bypassed nodes
    stay until unused nodes are removed.
    """

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Bypass the nodes; the graph has the shapes of its values."""
        modified = False
        for node in list(model.graph.all_nodes()):
            end = node.outputs[0]
            if node.op_type != "Reshape" or end.shape is None or end.is_graph_output():
                continue
            start = node.inputs[0]
            while start is not None and not _have_same_shape(start, end):
                producer = start.producer()
                start = producer.inputs[0] if producer is not None and producer.op_type == "Reshape" else None
            if start is not None:
                onnx_ir.convenience.replace_all_uses_with(end, start)
                modified = True
        return PassResult(model, modified)


def _have_same_shape(one: onnx_ir.Value, other: onnx_ir.Value) -> bool:
    """Whether two values certainly have one shape: every dimension is known, by number or by name."""
    if one.shape is None or other.shape is None or len(one.shape) != len(other.shape):
        return False
    pairs = zip(one.shape, other.shape, strict=True)
    return all(a == b and (isinstance(a, int) or a.value is not None) for a, b in pairs)
