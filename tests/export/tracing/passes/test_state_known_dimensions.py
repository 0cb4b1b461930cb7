from __future__ import annotations

import onnx_ir
import pytest

from edgepipe_export.tracing.passes.state_known_dimensions import StateKnownDimensionsPass

FLOAT = onnx_ir.DataType.FLOAT


def reshape(sizes: list[int], output: list[int | str], *, concatenated: bool) -> onnx_ir.Model:
    """A graph that reshapes its input to `sizes`, a constant or a concatenation of one for each axis."""
    given = onnx_ir.Value(name="given", shape=onnx_ir.Shape(["a", "b", 32]), type=onnx_ir.TensorType(FLOAT))
    parts = [sizes] if not concatenated else [[size] for size in sizes]
    constants = [onnx_ir.Value(name=f"c{i}", const_value=onnx_ir.tensor(part)) for i, part in enumerate(parts)]
    nodes = [onnx_ir.node("Concat", constants, {"axis": 0})] if concatenated else []
    shape = nodes[0].outputs[0] if concatenated else constants[0]
    nodes.append(onnx_ir.node("Reshape", [given, shape]))
    nodes[-1].outputs[0].shape = onnx_ir.Shape(output)
    graph = onnx_ir.Graph([given], nodes[-1].outputs, nodes=nodes, initializers=constants, opset_imports={"": 20})
    return onnx_ir.Model(graph, ir_version=10)


def sizes_of(graph: onnx_ir.Graph) -> list[int]:
    shape = graph[-1].inputs[1]
    producer = shape.producer() if shape is not None else None
    parts = [shape] if producer is None else producer.inputs
    return [int(size) for part in parts for size in onnx_ir.convenience.get_const_tensor(part).numpy()]


@pytest.mark.parametrize("concatenated", [False, True])
def test_sizes_that_are_known_are_stated(concatenated: bool) -> None:
    model = reshape([2, 3, -1, 8], ["a", "b", 4, 8], concatenated=concatenated)
    StateKnownDimensionsPass()(model)
    assert sizes_of(model.graph) == [2, 3, 4, 8]


@pytest.mark.parametrize("concatenated", [False, True])
def test_sizes_that_vary_are_left_to_be_computed(concatenated: bool) -> None:
    model = reshape([2, -1, 4, 8], ["a", "b", 4, 8], concatenated=concatenated)
    StateKnownDimensionsPass()(model)
    assert sizes_of(model.graph) == [2, -1, 4, 8]
