"""A ``Reshape`` that also takes tensors without elements."""

from __future__ import annotations

import numpy as np
import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult


class StateKnownDimensionsPass(InPlacePass):
    """Replace each -1 in the shape of a ``Reshape`` by the dimension it stands for, where that is always the same.

    A -1 is computed from the number of elements. It cannot be where there are none: of [2, 0, 32] to [2, 0, -1, 8].
    """

    def call(self, model: onnx_ir.Model) -> PassResult:
        """State the dimensions; the graph has the shapes of its values."""
        modified = False
        for node in list(model.graph.all_nodes()):
            if node.op_type != "Reshape" or node.outputs[0].shape is None or node.inputs[1] is None:
                continue
            shape, target = node.inputs[1], list(node.outputs[0].shape)
            producer = shape.producer()
            if producer is not None and producer.op_type == "Concat" and len(producer.inputs) == len(target):
                parts = [(producer, index, [dimension]) for index, dimension in enumerate(target)]
            else:
                parts = [(node, 1, target)]
            for reader, index, dimensions in parts:
                stated = _state(model.graph, reader.inputs[index], dimensions)
                if stated is not None:
                    reader.replace_input_with(index, stated)
                    modified = True
        return PassResult(model, modified)


def _state(
    graph: onnx_ir.Graph, value: onnx_ir.Value | None, dimensions: list[int | onnx_ir.SymbolicDim]
) -> onnx_ir.Value | None:
    """A constant like `value`, int64[rank], with what is known in place of -1; None where nothing is to be replaced."""
    tensor = onnx_ir.convenience.get_const_tensor(value) if value is not None else None
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
