"""A length that was traced as the length of a tensor is read from an optional input.

A number that decides how long tensors are is hard to trace: ``torch.export`` knows nothing of it, but of the length of
an input it knows what it has to. So the traced graph has a stand-in, an input of which only the length is read. The
number takes its place when the graph is finished.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult

from edgepipe.errors import ExportError
from edgepipe_export.tracing.passes.make_input_optional import MakeInputOptionalPass

# The default of the optional input: nobody says.
_UNSET = -1


@dataclass(frozen=True)
class ReadLengthFromInputPass(InPlacePass):
    """Add an optional input, int64[1], that says how long a stand-in is, and remove the stand-in.

    Attributes:
        stand_in: The name of an input with one axis.
        name: The name of the optional input.
        otherwise: The input whose length counts where the optional one is not given, or negative.
        axis: The axis of `otherwise`.
    """

    stand_in: str
    name: str
    otherwise: str
    axis: int

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Replace the stand-in.

        Raises:
            ExportError: more than the stand-in's length is read.
        """
        graph, name = model.graph, self.name
        inputs = {value.name: value for value in graph.inputs}
        readers = [use.node for use in inputs[self.stand_in].uses()]
        for reader in readers:
            if reader.op_type != "Shape":
                raise ExportError(f"{reader.op_type} reads {self.stand_in}, of which only the length is there")
        integers, one = onnx_ir.TensorType(onnx_ir.DataType.INT64), onnx_ir.Shape([1])
        given = onnx_ir.Value(name=name, shape=one, type=integers)
        zero = onnx_ir.Value(name=f"{name}_zero")
        zero.const_value = onnx_ir.tensor(np.zeros(1, np.int64), name=zero.name)
        graph.inputs.append(given)
        MakeInputOptionalPass(name, [_UNSET])(model)
        graph.register_initializer(zero)
        is_unset = onnx_ir.node("Less", [given, zero])
        length = onnx_ir.node("Shape", [inputs[self.otherwise]], {"start": self.axis, "end": self.axis + 1})
        chosen = onnx_ir.node("Where", [is_unset.outputs[0], length.outputs[0], given])
        for index, node in enumerate((is_unset, length, chosen)):
            node.name = node.outputs[0].name = f"{name}.{index}"
        chosen.outputs[0].type, chosen.outputs[0].shape = integers, one
        for reader in readers:
            onnx_ir.convenience.replace_all_uses_with(reader.outputs[0], chosen.outputs[0])
        graph.remove(readers, safe=True)
        graph.inputs.remove(inputs[self.stand_in])
        graph.insert_before(graph[0], [is_unset, length, chosen])
        return PassResult(model, modified=True)
