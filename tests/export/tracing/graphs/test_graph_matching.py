"""What passes ask of a graph."""

from __future__ import annotations

import numpy as np
import onnx_ir

from edgepipe_export.tracing.graphs.graph_editing import add_constant
from edgepipe_export.tracing.graphs.graph_matching import (
    are_same_dimension,
    find_only_use,
    find_permutation,
    find_producer,
    read_integer,
)


def two_users() -> tuple[onnx_ir.Value, onnx_ir.Node, onnx_ir.Node, onnx_ir.Graph]:
    """x -> Transpose -> Add(once, twice) with itself."""
    value = onnx_ir.val("x", onnx_ir.DataType.FLOAT, ["batch", 2])
    turned = onnx_ir.node("Transpose", [value], {"perm": [1, 0]}, name="turned")
    total = onnx_ir.node("Add", [turned.outputs[0], turned.outputs[0]], name="total")
    return value, turned, total, onnx_ir.Graph([value], total.outputs, nodes=[turned, total], opset_imports={"": 20})


def test_producers_and_users() -> None:
    value, turned, total, _ = two_users()
    assert find_producer(turned.outputs[0], "Transpose") is turned
    assert find_producer(turned.outputs[0], "Add") is None
    assert find_producer(value, "Transpose") is None
    assert find_producer(None, "Transpose") is None
    assert find_only_use(value, "Transpose", 0) is turned
    assert find_only_use(value, "Transpose", 1) is None
    assert find_only_use(value, "Add", 0) is None
    assert find_only_use(turned.outputs[0], "Add", 0) is None, "it is used twice"
    assert find_only_use(total.outputs[0], "Add", 0) is None, "it is an output"


def test_permutations_and_numbers() -> None:
    _, turned, total, graph = two_users()
    assert (find_permutation(turned), find_permutation(total)) == ([1, 0], None)
    assert read_integer(add_constant(graph, "seven", np.array([7], np.int64))) == 7
    assert read_integer(add_constant(graph, "several", np.array([7, 8], np.int64))) is None
    assert read_integer(turned.outputs[0]) is None
    assert read_integer(None) is None


def test_dimensions_are_one_where_that_is_certain() -> None:
    batch, unknown = onnx_ir.SymbolicDim("batch"), onnx_ir.SymbolicDim(None)
    assert are_same_dimension(3, 3)
    assert are_same_dimension(batch, onnx_ir.SymbolicDim("batch"))
    assert not are_same_dimension(3, 4)
    assert not are_same_dimension(batch, onnx_ir.SymbolicDim("length"))
    assert not are_same_dimension(unknown, unknown)
