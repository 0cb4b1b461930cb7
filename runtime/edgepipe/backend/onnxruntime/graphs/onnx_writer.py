"""ONNX models of a few operators, and parts of others, byte by byte: the ``onnx`` package is none of the runtime's.

https://protobuf.dev/programming-guides/encoding has the bytes, ``onnx.proto`` the numbers of the fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from edgepipe.errors import BundleError

_IR_VERSION = 8
_OPSET = 13
# TensorProto.DataType
ELEMENT_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "float16": 10, "float64": 11}


@dataclass(frozen=True)
class Node:
    """One operator: its name, the names of its inputs and outputs, its whole-numbered attributes, and its domain."""

    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, int] = field(default_factory=dict)
    domain: str = ""


def write_model(
    nodes: Sequence[Node], inputs: Mapping[str, tuple[str, int]], outputs: Mapping[str, tuple[str, int]]
) -> bytes:
    """A model as onnxruntime reads it; each input and output has a dtype and a number of axes."""
    graph = [
        *map(write_node, nodes),
        write_field(2, b"small"),
        *(write_field(11, _tensor(name, *kind)) for name, kind in inputs.items()),
        *(write_field(12, _tensor(name, *kind)) for name, kind in outputs.items()),
    ]
    opset = write_field(1, b"") + write_number(2, _OPSET)
    return write_number(1, _IR_VERSION) + write_field(7, b"".join(graph)) + write_field(8, opset)


def write_node(node: Node) -> bytes:
    """A node as a field of its graph."""
    content = [
        *(write_field(1, name.encode()) for name in node.inputs),
        *(write_field(2, name.encode()) for name in node.outputs),
        write_field(4, node.operator.encode()),
        *(write_field(5, _attribute(name, value)) for name, value in node.attributes.items()),
        write_field(7, node.domain.encode()) if node.domain else b"",
    ]
    return write_field(1, b"".join(content))


def write_initializer(name: str, array: NDArray[Any]) -> bytes:
    """A constant with its numbers, as a field of its graph."""
    return _tensor_proto(name, str(array.dtype), array.shape, write_field(9, array.tobytes()))


def declare_initializer(name: str, dtype: str, shape: Sequence[int], location: str) -> bytes:
    """A constant whose numbers are said to be in a file, as a field of its graph."""
    entry = write_field(1, b"location") + write_field(2, location.encode())
    is_external = 1  # TensorProto.DataLocation.EXTERNAL
    return _tensor_proto(name, dtype, shape, write_field(13, entry) + write_number(14, is_external))


def _tensor_proto(name: str, dtype: str, shape: Sequence[int], content: bytes) -> bytes:
    dims = b"".join(write_number(1, size) for size in shape)
    return write_field(5, dims + write_number(2, ELEMENT_TYPES[dtype]) + write_field(8, name.encode()) + content)


def _attribute(name: str, value: int) -> bytes:
    is_integer = 2  # AttributeProto.INT
    return write_field(1, name.encode()) + write_number(3, value) + write_number(20, is_integer)


def _tensor(name: str, dtype: str, axes: int) -> bytes:
    """A ValueInfoProto whose axes are of any size.

    Raises:
        BundleError: nothing is known of the dtype.
    """
    if dtype not in ELEMENT_TYPES:
        raise BundleError(f"values of {dtype} cannot be kept on a device, only {', '.join(ELEMENT_TYPES)}")
    shape = write_field(2, write_field(1, b"") * axes)
    return write_field(1, name.encode()) + write_field(2, write_field(1, write_number(1, ELEMENT_TYPES[dtype]) + shape))


def write_field(number: int, content: bytes) -> bytes:
    """A field of a message that holds bytes: text, or a message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def write_number(number: int, value: int) -> bytes:
    """A field of a message that holds a whole number."""
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    value &= 2**64 - 1  # negative ones as two's complement of 64 bits
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
