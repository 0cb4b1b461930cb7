"""A decoder's source gets a number of rows of its own, so that one may serve all rows of the target.

The beams of one input, and its sampled answers, attend to the same source. The products of attention take operands with
one row where the others have many, so its keys and values need not be repeated: a quarter of the memory with four
beams, and keys that stay in the processor's caches from row to row.

``torch.export`` has one number of rows for both: products of two numbers that it does not know are equal cannot be
traced. In the finished graph only what *says* the number has to be told apart: which tensor's shape it is read from,
and its name in the declared shapes, by which onnxruntime plans its memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult

from edgepipe.bundle.layout import SOURCE_BATCH_SIZE
from edgepipe_export.tracing.dynamic_axes import BATCH

_SOURCE_INPUTS = ("encoder_hidden_states", "encoder_attention_mask")

# Operators whose second input is a shape, not data.
_TAKE_SHAPE = ("Reshape", "Expand")


class SeparateSourceRowsPass(InPlacePass):
    """Have a decoder take a source of one row for any number of rows of the target."""

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Tell the rows apart; the graph has the shapes of its values, and all rows are called ``batch_size``."""
        graph = model.graph
        inputs = {value.name or "": value for value in graph.inputs}
        source = [value for name, value in inputs.items() if name in _SOURCE_INPUTS or ".encoder." in name]
        from_source = _find_values_of_source(graph, source)
        counting = [node for node in graph if _reads_rows(node)]
        source_rows = _count_rows(graph, source[0], SOURCE_BATCH_SIZE)
        target_rows = _count_rows(graph, inputs["input_ids"], BATCH)
        for node in counting:
            onnx_ir.convenience.replace_all_uses_with(node.outputs[0], target_rows)
        graph.remove(counting, safe=True)
        for node in list(graph):
            if node.op_type in _TAKE_SHAPE and node.inputs[0] in from_source and node.inputs[1] is not None:
                node.replace_input_with(1, _use_source_rows(graph, node.inputs[1], source_rows, target_rows))
        for value in from_source:
            if value.shape is not None:
                value.shape = onnx_ir.Shape(
                    onnx_ir.SymbolicDim(SOURCE_BATCH_SIZE) if _is_rows(dimension) else dimension
                    for dimension in value.shape
                )
        return PassResult(model, modified=True)


def _count_rows(graph: onnx_ir.Graph, value: onnx_ir.Value, name: str) -> onnx_ir.Value:
    """The number of rows of an input, int64[1]."""
    node = onnx_ir.node("Shape", [value], {"start": 0, "end": 1}, name=name)
    (count,) = node.outputs
    count.name = f"{name}.count"
    count.type, count.shape = onnx_ir.TensorType(onnx_ir.DataType.INT64), onnx_ir.Shape([1])
    graph.insert_before(graph[0], node)
    return count


def _reads_rows(node: onnx_ir.Node) -> bool:
    """Whether a node reads the number of rows, int64[1], from the shape of a tensor."""
    if node.op_type != "Shape" or node.inputs[0] is None or node.inputs[0].shape is None:
        return False
    start, end = (node.attributes[name].as_int() if name in node.attributes else None for name in ("start", "end"))
    read = list(node.inputs[0].shape)[start or 0 : end]
    return len(read) == 1 and _is_rows(read[0])


def _is_rows(dimension: int | onnx_ir.SymbolicDim) -> bool:
    return isinstance(dimension, onnx_ir.SymbolicDim) and dimension.value == BATCH


def _has_rows(value: onnx_ir.Value) -> bool:
    return value.shape is not None and any(_is_rows(dimension) for dimension in value.shape)


def _find_values_of_source(graph: onnx_ir.Graph, source: list[onnx_ir.Value]) -> set[onnx_ir.Value]:
    """The values whose rows are those of the source: computed from it, and from nothing that has the target's."""
    found = set(source)
    for node in graph:
        data = list(_data_inputs(node))
        if any(value in found for value in data) and all(value in found or not _has_rows(value) for value in data):
            found.update(value for value in node.outputs if _has_rows(value))
    return found


def _data_inputs(node: onnx_ir.Node) -> Iterator[onnx_ir.Value]:
    if node.op_type == "Shape":
        return
    for value in node.inputs[:1] if node.op_type in _TAKE_SHAPE else node.inputs:
        if value is not None:
            yield value


def _use_source_rows(
    graph: onnx_ir.Graph, shape: onnx_ir.Value, source_rows: onnx_ir.Value, target_rows: onnx_ir.Value
) -> onnx_ir.Value:
    """A shape with the source's number of rows where it has the target's; the same where it has none."""
    if shape is target_rows:
        return source_rows
    producer = shape.producer()
    if producer is None or producer.op_type != "Concat" or target_rows not in producer.inputs:
        return shape
    name = f"{producer.name}.{SOURCE_BATCH_SIZE}"
    for use in source_rows.uses():
        if use.node.name == name:
            return use.node.outputs[0]
    parts = [source_rows if part is target_rows else part for part in producer.inputs]
    concat = onnx_ir.node("Concat", parts, {"axis": 0}, name=name)
    concat.outputs[0].name = f"{shape.name}.{SOURCE_BATCH_SIZE}"
    concat.outputs[0].type, concat.outputs[0].shape = shape.type, shape.shape
    graph.insert_after(producer, concat)
    return concat.outputs[0]
