"""From fp32 to half precision, node by node.

onnxruntime's own converter puts a pair of casts between neighbours that both stay fp32, and what they were kept for
overflows in between; here values change their type only where a node in half precision meets one in fp32.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir

from edgepipe.errors import ExportError

FULL, HALF = onnx_ir.DataType.FLOAT, onnx_ir.DataType.FLOAT16

LARGEST = 65504.0

# Without a half-precision kernel on some provider, or taking some input in fp32 only.
_FULL_OPERATORS = frozenset({"Range", "CumSum", "TopK", "Resize", "Max", "Min", "NonMaxSuppression"})


def to_half(graph: onnx_ir.Graph, kept: Collection[str], cache: tuple[str, ...]) -> None:
    """Have a graph compute in half precision, in place.

    Args:
        graph: The graph; every value of it has its type.
        kept: Names of nodes that stay fp32.
        cache: What the names of inputs and outputs begin with that become half precision too; the others stay.

    Raises:
        ExportError: the graph has a graph within it.
    """
    _Conversion(graph, frozenset(kept), cache).run()


class _Conversion:
    def __init__(self, graph: onnx_ir.Graph, kept: frozenset[str], cache: tuple[str, ...]) -> None:
        self.graph = graph
        self.kept = kept
        self.cache = cache
        self.other: dict[onnx_ir.Value, onnx_ir.Value] = {}  # the same in the type that it was not made in

    def run(self) -> None:
        nodes = list(self.graph)
        for given in self.graph.inputs:
            if given.dtype == FULL and (given.name or "").startswith(self.cache):
                given.dtype = HALF
        for node in nodes:
            kind = FULL if node.op_type in _FULL_OPERATORS or node.name in self.kept else HALF
            for index, value in enumerate(node.inputs):
                if value is not None and value.dtype in (FULL, HALF):
                    node.replace_input_with(index, self._as(value, kind, node))
            if kind == HALF:
                _change_attributes(node)
                for value in node.outputs:
                    if value.dtype == FULL:
                        value.dtype = HALF
        for index, output in enumerate(list(self.graph.outputs)):
            self._give(index, output)
        for original, made in self.other.items():
            if original.is_initializer() and not original.uses():
                self._take_name(original, made)

    def _take_name(self, original: onnx_ir.Value, made: onnx_ir.Value) -> None:
        initializers, name = self.graph.initializers, original.name or ""
        del initializers[name]
        del initializers[made.name or ""]
        made.name = name
        self.graph.register_initializer(made)

    def _as(self, value: onnx_ir.Value, kind: onnx_ir.DataType, reader: onnx_ir.Node) -> onnx_ir.Value:
        """A value in a type, made where it is first needed."""
        if value.dtype == kind:
            return value
        if value not in self.other:
            self.other[value] = self._halved(value) if value.is_initializer() else self._cast(value, kind, reader)
        return self.other[value]

    def _halved(self, value: onnx_ir.Value) -> onnx_ir.Value:
        assert value.const_value is not None
        name = f"{value.name}_half"
        numbers = np.clip(value.const_value.numpy(), -LARGEST, LARGEST).astype(np.float16)
        tensor = onnx_ir.tensor(numbers, name=name)
        made = onnx_ir.Value(name=name, const_value=tensor, shape=value.shape, type=onnx_ir.TensorType(HALF))
        self.graph.register_initializer(made)
        return made

    def _cast(self, value: onnx_ir.Value, kind: onnx_ir.DataType, reader: onnx_ir.Node | None) -> onnx_ir.Value:
        name = f"{value.name}_{'half' if kind == HALF else 'full'}"
        node = onnx_ir.node("Cast", [value], attributes={"to": kind.value}, name=name)
        made = node.outputs[0]
        made.name, made.shape, made.type = name, value.shape, onnx_ir.TensorType(kind)
        if reader is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(reader, node)
        return made

    def _give(self, index: int, value: onnx_ir.Value) -> None:
        """Give an output the type that its readers expect, under its own name."""
        name = value.name or ""
        wanted = HALF if name.startswith(self.cache) else FULL
        if value.dtype not in (FULL, HALF) or value.dtype == wanted:
            return
        value.name = f"{name}_{'full' if wanted == HALF else 'half'}"
        made = self._cast(value, wanted, None)
        made.name = name
        self.graph.outputs[index] = made


def _change_attributes(node: onnx_ir.Node) -> None:
    for name, attribute in list(node.attributes.items()):
        if attribute.type in (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS):
            raise ExportError(f"{node.op_type} {node.name} has a graph within it, which cannot be made half precision")
        if name in ("to", "dtype") and attribute.type == onnx_ir.AttributeType.INT and attribute.as_int() == FULL.value:
            node.attributes[name] = onnx_ir.AttrInt64(name, HALF.value)
        elif attribute.type == onnx_ir.AttributeType.TENSOR and attribute.as_tensor().dtype == FULL:
            numbers = np.clip(attribute.as_tensor().numpy(), -LARGEST, LARGEST).astype(np.float16)
            node.attributes[name] = onnx_ir.AttrTensor(name, onnx_ir.tensor(numbers))
