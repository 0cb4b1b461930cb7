"""Lookups that give a matrix as it is are removed."""

from __future__ import annotations

import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult

from edgepipe_export.tracing.graphs.graph_editing import NodeReplacement
from edgepipe_export.tracing.graphs.graph_matching import find_producer, read_integer


class RemoveIdleGathersPass(InPlacePass):
    """Replace a ``GatherND`` that looks up every row and column of a matrix, in order, by an ``Unsqueeze``.

    transformers indexes attention masks with the numbers of all texts and all tokens, so that the tensors of both
    spread over each other. In a graph that takes some ten nodes, which stay until unused nodes are removed.
    """

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Replace the nodes; the graph has the shapes of its values."""
        found = [node for node in model.graph if node.op_type == "GatherND" and _is_idle(node)]
        for node in found:
            _Replacement(model.graph, node).replace()
        return PassResult(model, modified=bool(found))


def _is_idle(node: onnx_ir.Node) -> bool:
    """Whether a lookup gives the matrix, but for axes of 1."""
    matrix, indices = node.inputs
    shape = node.outputs[0].shape
    concat = None if indices is None else indices.producer()
    if matrix is None or matrix.shape is None or shape is None or concat is None or concat.op_type != "Concat":
        return False
    axes = [_counted_axis(value) for value in concat.inputs]
    if len(matrix.shape) != 2 or len(axes) != 2 or node.attributes.get_int("batch_dims", 0) != 0:
        return False
    row, column = axes
    if (
        row is None
        or column is None
        or row[0] >= column[0]
        or concat.attributes["axis"].as_int() not in (-1, len(shape))
    ):
        return False
    whole: list[int | onnx_ir.SymbolicDim] = [1] * len(shape)
    for (axis, size), own in zip((row, column), matrix.shape, strict=True):
        if axis >= len(shape) or isinstance(own, int) or own.value is None or size != own:
            return False
        whole[axis] = own
    return list(shape) == whole


def _counted_axis(value: onnx_ir.Value | None) -> tuple[int, onnx_ir.SymbolicDim] | None:
    """The axis along which indices count 0, 1, 2 and so on up to its size, being the same along all others."""
    unsqueeze = find_producer(value, "Unsqueeze")
    expand = None if unsqueeze is None else find_producer(unsqueeze.inputs[0], "Expand")
    numbers = None if expand is None else expand.inputs[0]
    if numbers is None or numbers.shape is None:
        return None
    sizes = [(axis, size) for axis, size in enumerate(numbers.shape) if size != 1]
    while (inner := find_producer(numbers, "Unsqueeze")) is not None:
        numbers = inner.inputs[0]
    counting = find_producer(numbers, "Range")
    if counting is None or len(sizes) != 1 or [read_integer(counting.inputs[place]) for place in (0, 2)] != [0, 1]:
        return None
    axis, size = sizes[0]
    return (axis, size) if isinstance(size, onnx_ir.SymbolicDim) else None


class _Replacement(NodeReplacement):
    def replace(self) -> None:
        matrix, shape = self.node.inputs[0], self.node.outputs[0].shape
        assert matrix is not None
        assert shape is not None
        axes = [axis for axis, size in enumerate(shape) if size == 1]
        self.take_place(0, self.add("Unsqueeze", matrix, self.numbers("_".join(map(str, ["axes", *axes])), axes)))
        self.finish()
