"""Inputs that need not be given: what a graph does with them and without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir
import pytest

from edgepipe.backend.engines import create_session
from edgepipe.backend.onnxruntime.ort_device import HOST
from edgepipe.errors import ExportError
from edgepipe_export.tracing.passes.read_length_from_input import ReadLengthFromInputPass
from edgepipe_export.tracing.serialization import save_graph

INT64 = onnx_ir.TensorType(onnx_ir.DataType.INT64)


def model_that_reads(operator: str) -> onnx_ir.Model:
    """A graph that gives what an operator makes of ``stand_in``, int64[n]; ``other``, int64[3, m], is not read."""
    stand_in = onnx_ir.Value(name="stand_in", shape=onnx_ir.Shape(["n"]), type=INT64)
    other = onnx_ir.Value(name="other", shape=onnx_ir.Shape([3, "m"]), type=INT64)
    node = onnx_ir.node(operator, [stand_in], name="reader")
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "read", INT64, onnx_ir.Shape(["k"])
    tail = onnx_ir.node("Neg", node.outputs, name="tail")
    tail.outputs[0].name, tail.outputs[0].type, tail.outputs[0].shape = "negative", INT64, onnx_ir.Shape(["k"])
    graph = onnx_ir.Graph([stand_in, other], tail.outputs, nodes=[node, tail], name="g", opset_imports={"": 18})
    return onnx_ir.Model(graph, ir_version=8)


def test_a_length_is_the_input_or_another_tensors_where_it_is_not_given(tmp_path: Path) -> None:
    model = model_that_reads("Shape")
    ReadLengthFromInputPass("stand_in", "length", "other", axis=1)(model)
    save_graph(model, tmp_path / "graph.onnx")
    session = create_session(tmp_path / "graph.onnx")
    assert session.inputs == {"other": "int64"}
    assert session.optional_inputs == {"length": "int64"}
    other = np.zeros((3, 5), np.int64)
    assert session.run({"other": other})["negative"].tolist() == [-5]
    length = np.array([2])
    binding = session.bind()
    binding.bind_input("other", other)
    binding.bind_input("length", HOST.wrap(length))
    binding.bind_output("negative")
    assert binding.run()["negative"].numpy().tolist() == [-2]
    length[0] = 3
    assert binding.run()["negative"].numpy().tolist() == [-3]
    length[0] = -1
    assert binding.run()["negative"].numpy().tolist() == [-5]


def test_what_stands_in_for_a_length_can_be_nothing_else() -> None:
    with pytest.raises(ExportError, match="Neg reads stand_in"):
        ReadLengthFromInputPass("stand_in", "length", "other", axis=1)(model_that_reads("Neg"))
