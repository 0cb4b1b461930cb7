"""Edits of a graph."""

from __future__ import annotations

import numpy as np
import onnx_ir
import pytest

from edgepipe_export.tracing.graphs.graph_editing import NodeReplacement, add_constant
from tests.export.tracing.passes.hand_made import hand_made


def test_a_constant_of_the_same_name_is_the_same() -> None:
    graph = hand_made([2, 3]).graph
    first = add_constant(graph, "axes", np.array([1, 2], np.int64))
    assert add_constant(graph, "axes", np.array([9], np.int64)) is first
    assert first.const_value is not None
    assert first.const_value.numpy().tolist() == [1, 2]
    assert first.shape == onnx_ir.Shape([2])


def test_a_node_goes_and_its_output_keeps_name_and_shape() -> None:
    graph = hand_made([2, 3]).graph
    (node,) = graph
    node.name, node.outputs[0].name = "relu", "result"
    shape = node.outputs[0].shape
    replacement = NodeReplacement(graph, node)
    raised = replacement.add("Max", graph.inputs[0], replacement.number("zero", 0))
    replacement.take_place(0, replacement.add("Identity", raised))
    replacement.finish()
    assert [(each.op_type, each.name) for each in graph] == [("Max", "relu.0"), ("Identity", "relu.1")]
    assert (graph.outputs[0].name, graph.outputs[0].shape) == ("result", shape)
    assert graph.outputs[0].producer() is graph[1]


def test_a_node_whose_output_is_still_read_cannot_go() -> None:
    graph = hand_made([2, 3]).graph
    replacement = NodeReplacement(graph, graph[0])
    with pytest.raises(ValueError, match="output"):
        replacement.finish()
