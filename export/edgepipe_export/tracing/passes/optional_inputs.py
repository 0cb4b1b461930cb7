"""Inputs of a graph that need not be given.

ONNX has them as inputs with an initializer of the same name. onnxruntime lists these apart from the others
(``get_overridable_initializers``), so a runtime that feeds what ``get_inputs`` lists (optimum, transformers.js)
runs the graph as if they were not there.

A number that decides how long tensors are is hard to trace: ``torch.export`` knows nothing of it. Of the length of an
input it knows what it has to. So the traced graph has a stand-in, an input of which only the length is read, and the
number takes its place when the graph is done.
"""

from __future__ import annotations

import numpy as np
import onnx_ir

from edgepipe.errors import ExportError

# The default of an optional length: nobody says.
_UNSET = -1


def give_default(graph: onnx_ir.Graph, name: str, numbers: int | list[int]) -> None:
    """Have an input of integers be optional, in place."""
    (value,) = (value for value in graph.inputs if value.name == name)
    value.const_value = onnx_ir.tensor(np.array(numbers, np.int64), name=name)
    graph.register_initializer(value)


def give_length(graph: onnx_ir.Graph, stand_in: str, name: str, otherwise: str, axis: int) -> None:
    """Have an optional input, int64[1], say how long a stand-in is, and drop the stand-in.

    Args:
        graph: A traced graph; changed in place.
        stand_in: The name of an input with one axis.
        name: The name of the optional input.
        otherwise: The input whose length counts where the optional one is not given, or negative.
        axis: Of which axis.

    Raises:
        ExportError: more than the stand-in's length is read.
    """
    inputs = {value.name: value for value in graph.inputs}
    readers = [use.node for use in inputs[stand_in].uses()]
    for reader in readers:
        if reader.op_type != "Shape":
            raise ExportError(f"{reader.op_type} reads {stand_in}, of which only the length is there")
    integers, one = onnx_ir.TensorType(onnx_ir.DataType.INT64), onnx_ir.Shape([1])
    given = onnx_ir.Value(name=name, shape=one, type=integers)
    zero = onnx_ir.Value(name=f"{name}_zero", const_value=onnx_ir.tensor(np.zeros(1, np.int64), name=f"{name}_zero"))
    graph.inputs.append(given)
    give_default(graph, name, [_UNSET])
    graph.register_initializer(zero)
    is_unset = onnx_ir.node("Less", [given, zero])
    length = onnx_ir.node("Shape", [inputs[otherwise]], {"start": axis, "end": axis + 1})
    found = onnx_ir.node("Where", [is_unset.outputs[0], length.outputs[0], given])
    for index, node in enumerate((is_unset, length, found)):
        node.name = node.outputs[0].name = f"{name}.{index}"
    found.outputs[0].type, found.outputs[0].shape = integers, one
    for reader in readers:
        onnx_ir.convenience.replace_all_uses_with(reader.outputs[0], found.outputs[0])
    graph.remove(readers, safe=True)
    graph.inputs.remove(inputs[stand_in])
    graph.insert_before(graph[0], [is_unset, length, found])
