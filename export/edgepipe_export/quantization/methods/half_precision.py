"""From fp32 to half precision, node by node.

onnxruntime's own converter puts a pair of casts between neighbours that both stay fp32, and what they stayed fp32 for
overflows in between. Here values change their type only where a node in half precision meets one in fp32.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult

from edgepipe.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FULL, HALF = onnx_ir.DataType.FLOAT, onnx_ir.DataType.FLOAT16

LARGEST = 65504.0

# Without a half-precision kernel on some provider, or taking some input in fp32 only.
_FULL_OPERATORS = frozenset({"Range", "CumSum", "TopK", "Resize", "Max", "Min", "NonMaxSuppression"})


class ConvertToHalfPass(InPlacePass):
    """Have a graph compute in half precision. Every value of it has its type.

    Attributes:
        excluded: Names of nodes that stay fp32.
        cache: What the names of inputs and outputs begin with that become half precision too; the others stay.
    """

    def __init__(self, excluded: Collection[str], cache: tuple[str, ...]) -> None:
        super().__init__()
        self.excluded = frozenset(excluded)
        self.cache = cache

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Convert the graph.

        Raises:
            ExportError: the graph has a graph within it.
        """
        self._graph = model.graph
        self._converted: dict[onnx_ir.Value, onnx_ir.Value] = {}  # the same in the type that it was not made in
        nodes = list(self._graph)
        for value in self._graph.inputs:
            if value.dtype == FULL and (value.name or "").startswith(self.cache):
                value.dtype = HALF
        for node in nodes:
            kind = FULL if node.op_type in _FULL_OPERATORS or node.name in self.excluded else HALF
            for index, given in enumerate(node.inputs):
                if given is not None and given.dtype in (FULL, HALF):
                    node.replace_input_with(index, self._convert(given, kind, node))
            if kind == HALF:
                _convert_attributes(node)
                for value in node.outputs:
                    if value.dtype == FULL:
                        value.dtype = HALF
        for index, output in enumerate(list(self._graph.outputs)):
            self._convert_output(index, output)
        for original, converted in self._converted.items():
            if original.is_initializer() and not original.uses():
                self._take_name(original, converted)
        return PassResult(model, modified=True)

    def _take_name(self, original: onnx_ir.Value, converted: onnx_ir.Value) -> None:
        initializers, name = self._graph.initializers, original.name or ""
        del initializers[name]
        del initializers[converted.name or ""]
        converted.name = name
        self._graph.register_initializer(converted)

    def _convert(self, value: onnx_ir.Value, kind: onnx_ir.DataType, reader: onnx_ir.Node) -> onnx_ir.Value:
        """A value in a type, converted where it is first needed."""
        if value.dtype == kind:
            return value
        if value not in self._converted:
            self._converted[value] = self._halve(value) if value.is_initializer() else self._cast(value, kind, reader)
        return self._converted[value]

    def _halve(self, value: onnx_ir.Value) -> onnx_ir.Value:
        assert value.const_value is not None
        name = f"{value.name}_half"
        tensor = onnx_ir.tensor(_to_half(value.const_value), name=name)
        half = onnx_ir.Value(name=name, const_value=tensor, shape=value.shape, type=onnx_ir.TensorType(HALF))
        self._graph.register_initializer(half)
        return half

    def _cast(self, value: onnx_ir.Value, kind: onnx_ir.DataType, reader: onnx_ir.Node | None) -> onnx_ir.Value:
        name = f"{value.name}_{'half' if kind == HALF else 'full'}"
        node = onnx_ir.node("Cast", [value], attributes={"to": kind.value}, name=name)
        cast = node.outputs[0]
        cast.name, cast.shape, cast.type = name, value.shape, onnx_ir.TensorType(kind)
        if reader is None:
            self._graph.append(node)
        else:
            self._graph.insert_before(reader, node)
        return cast

    def _convert_output(self, index: int, value: onnx_ir.Value) -> None:
        """Give an output the type that its readers expect, under its own name."""
        name = value.name or ""
        wanted = HALF if name.startswith(self.cache) else FULL
        if value.dtype not in (FULL, HALF) or value.dtype == wanted:
            return
        value.name = f"{name}_{'full' if wanted == HALF else 'half'}"
        cast = self._cast(value, wanted, None)
        cast.name = name
        self._graph.outputs[index] = cast


def _convert_attributes(node: onnx_ir.Node) -> None:
    for name, attribute in list(node.attributes.items()):
        if attribute.type in (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS):
            raise ExportError(f"{node.op_type} {node.name} has a graph within it, which cannot be made half precision")
        if name in ("to", "dtype") and attribute.type == onnx_ir.AttributeType.INT and attribute.as_int() == FULL.value:
            node.attributes[name] = onnx_ir.AttrInt64(name, HALF.value)
        elif attribute.type == onnx_ir.AttributeType.TENSOR and attribute.as_tensor().dtype == FULL:
            node.attributes[name] = onnx_ir.AttrTensor(name, onnx_ir.tensor(_to_half(attribute.as_tensor())))


def _to_half(tensor: onnx_ir.TensorProtocol) -> NDArray[np.float16]:
    half: NDArray[np.float16] = np.clip(tensor.numpy(), -LARGEST, LARGEST).astype(np.float16)
    return half
