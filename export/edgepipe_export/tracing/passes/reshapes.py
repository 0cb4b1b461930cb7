"""Reshapes that also take tensors without elements."""

from __future__ import annotations

import numpy as np
import onnx_ir


def state_known_dimensions(graph: onnx_ir.Graph) -> None:
    """Replace each -1 in the shape of a ``Reshape`` by the dimension it stands for, where that is always the same.

    A -1 is computed from the number of elements, and cannot be where there are none: of [2, 0, 32] to [2, 0, -1, 8].

    Args:
        graph: A traced graph, with the shapes of its values; changed in place.
    """
    for node in list(graph.all_nodes()):
        if node.op_type != "Reshape" or node.outputs[0].shape is None or node.inputs[1] is None:
            continue
        shape, wanted = node.inputs[1], node.outputs[0].shape
        producer = shape.producer()
        if producer is not None and producer.op_type == "Concat" and len(producer.inputs) == len(wanted):
            for position, part in enumerate(producer.inputs):
                if part is not None:
                    replacement = _stated(graph, part, [wanted[position]])
                    producer.replace_input_with(position, replacement or part)
        else:
            replacement = _stated(graph, shape, list(wanted))
            node.replace_input_with(1, replacement or shape)


def _stated(
    graph: onnx_ir.Graph, value: onnx_ir.Value, dimensions: list[int | onnx_ir.SymbolicDim]
) -> onnx_ir.Value | None:
    """A constant like `value`, int64[rank], with what is known in place of -1; None where nothing is to be replaced."""
    tensor = onnx_ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.size != len(dimensions):
        return None
    sizes = tensor.numpy().copy()
    for index, dimension in enumerate(dimensions):
        if sizes[index] == -1 and isinstance(dimension, int):
            sizes[index] = dimension
    if (sizes == tensor.numpy()).all():
        return None
    name = "shape_" + "_".join(str(size) for size in sizes)
    if name not in graph.initializers:
        constant = onnx_ir.Value(name=name, const_value=onnx_ir.Tensor(np.ascontiguousarray(sizes), name=name))
        graph.register_initializer(constant)
    return graph.initializers[name]


def drop_idle_reshapes(graph: onnx_ir.Graph) -> None:
    """Remove runs of ``Reshape`` at whose end a tensor has the shape it began with.

    Attention splits the width into heads, and the operator that attends wants them together again.

    Args:
        graph: A traced graph, with the shapes of its values; changed in place.
    """
    for node in list(graph.all_nodes()):
        end = node.outputs[0]
        if node.op_type != "Reshape" or end.shape is None or end.is_graph_output():
            continue
        start = node.inputs[0]
        while start is not None and not _alike(start, end):
            producer = start.producer()
            start = producer.inputs[0] if producer is not None and producer.op_type == "Reshape" else None
        if start is not None:
            onnx_ir.convenience.replace_all_uses_with(end, start)


def _alike(one: onnx_ir.Value, other: onnx_ir.Value) -> bool:
    """Whether two values certainly have one shape: every dimension is known, by number or by name."""
    if one.shape is None or other.shape is None or len(one.shape) != len(other.shape):
        return False
    pairs = zip(one.shape, other.shape, strict=True)
    return all(a == b and (isinstance(a, int) or a.value is not None) for a, b in pairs)
