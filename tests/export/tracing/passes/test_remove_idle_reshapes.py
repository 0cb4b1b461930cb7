from __future__ import annotations

import onnx_ir
import pytest
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgepipe_export.tracing.passes.remove_idle_reshapes import RemoveIdleReshapesPass

FLOAT = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)


def split_and_join(length: int | str | None) -> onnx_ir.Model:
    """states [batch, length, 32] -> [batch, length, 4, 8] -> [batch, length, 32] -> their negatives."""
    states = onnx_ir.Value(name="states", shape=onnx_ir.Shape(["batch", length, 32]), type=FLOAT)
    shapes = [onnx_ir.val(name, onnx_ir.DataType.INT64, [rank]) for name, rank in (("apart", 4), ("together", 3))]
    split = onnx_ir.node("Reshape", [states, shapes[0]], name="split")
    split.outputs[0].shape = onnx_ir.Shape(["batch", length, 4, 8])
    join = onnx_ir.node("Reshape", [split.outputs[0], shapes[1]], name="join")
    join.outputs[0].shape = onnx_ir.Shape(["batch", length, 32])
    negative = onnx_ir.node("Neg", [join.outputs[0]], name="negative")
    nodes = [split, join, negative]
    graph = onnx_ir.Graph([states, *shapes], negative.outputs, nodes=nodes, opset_imports={"": 20})
    return onnx_ir.Model(graph, ir_version=10)


@pytest.mark.parametrize("length", ["length", 7])
def test_reshapes_that_lead_back_are_removed(length: int | str) -> None:
    model = split_and_join(length)
    assert RemoveIdleReshapesPass()(model).modified
    RemoveUnusedNodesPass()(model)
    assert [node.name for node in model.graph] == ["negative"]


def test_reshapes_with_a_dimension_that_is_not_known_stay() -> None:
    model = split_and_join(None)
    assert not RemoveIdleReshapesPass()(model).modified
