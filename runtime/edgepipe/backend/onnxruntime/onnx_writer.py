"""ONNX models of a few operators, written byte by byte: the ``onnx`` package is none of the runtime's.

https://protobuf.dev/programming-guides/encoding has the bytes, ``onnx.proto`` the numbers of the fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgepipe.errors import BundleError

_IR_VERSION = 8
_OPSET = 13
# TensorProto.DataType
ELEMENT_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "float16": 10, "float64": 11}


@dataclass(frozen=True)
class Node:
    """One operator: its name in ONNX, the names of its inputs and outputs, and its whole-numbered attributes."""

    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, int] = field(default_factory=dict)


def write_model(
    nodes: Sequence[Node], inputs: Mapping[str, tuple[str, int]], outputs: Mapping[str, tuple[str, int]]
) -> bytes:
    """A model as onnxruntime reads it; each input and output has a dtype and a number of axes."""
    graph = [
        *(_field(1, _node(node)) for node in nodes),
        _field(2, b"small"),
        *(_field(11, _tensor(name, *kind)) for name, kind in inputs.items()),
        *(_field(12, _tensor(name, *kind)) for name, kind in outputs.items()),
    ]
    opset = _field(1, b"") + _number(2, _OPSET)
    return _number(1, _IR_VERSION) + _field(7, b"".join(graph)) + _field(8, opset)


def _node(node: Node) -> bytes:
    return b"".join(
        [
            *(_field(1, name.encode()) for name in node.inputs),
            *(_field(2, name.encode()) for name in node.outputs),
            _field(4, node.operator.encode()),
            *(_field(5, _attribute(name, value)) for name, value in node.attributes.items()),
        ]
    )


def _attribute(name: str, value: int) -> bytes:
    is_integer = 2  # AttributeProto.INT
    return _field(1, name.encode()) + _number(3, value) + _number(20, is_integer)


def _tensor(name: str, dtype: str, axes: int) -> bytes:
    """A ValueInfoProto whose axes are of any size.

    Raises:
        BundleError: nothing is known of the dtype.
    """
    if dtype not in ELEMENT_TYPES:
        raise BundleError(f"values of {dtype} cannot be kept on a device, only {', '.join(ELEMENT_TYPES)}")
    shape = _field(1, b"") * axes
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, ELEMENT_TYPES[dtype]) + _field(2, shape)))


def _field(number: int, content: bytes) -> bytes:
    """A field that holds bytes: text, or a message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    """A field that holds a whole number."""
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    value &= 2**64 - 1  # negative ones as two's complement of 64 bits
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
