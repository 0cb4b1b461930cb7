"""What is read of an ONNX graph's bytes: the heads of its nodes and of its weights.

https://protobuf.dev/programming-guides/encoding has the bytes, ``onnx.proto`` the numbers of the fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgepipe.backend.external_data import read_fields, read_messages, read_varint

# Fields of a model, of a graph, of a node and its attributes, and of a tensor.
GRAPH, _OPSET = 7, 8
NODE, INITIALIZER, OUTPUT = 1, 5, 12
_INPUTS, _OUTPUTS, _OPERATOR, _ATTRIBUTE, _DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_INT = 1, 3
_DIMS, _DTYPE, _NAME, _RAW_DATA, _EXTERNAL_DATA = 1, 2, 8, 9, 13
_KEY, _VALUE = 1, 2
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2


@dataclass(frozen=True, slots=True)
class NodeHead:
    """A node without what lies within it.

    Attributes:
        operator: Its operator.
        domain: That of the operator; empty for ONNX's own.
        inputs: Names of its inputs, empty for one that is left out.
        outputs: Names of its outputs.
        integers: Its attributes that are whole numbers.
    """

    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    integers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TensorHead:
    """A weight without its numbers.

    Attributes:
        name: Its name.
        dtype: ``TensorProto.DataType``.
        dims: Its shape.
        inside: Where its bytes are in the graph, start and end; None for those of another file, or written otherwise.
        location: The file that its bytes are in, within the graph's folder; empty where they are in the graph.
        offset: Where they begin in that file.
        length: How many they are in that file.
    """

    name: str
    dtype: int
    dims: tuple[int, ...]
    inside: tuple[int, int] | None
    location: str
    offset: int
    length: int


def read_graphs(data: Any) -> Iterator[tuple[int, int]]:
    """Where a model has its graph, start and end: one time, but for damaged models."""
    return ((start, end) for field, start, end in read_messages(data, 0, len(data)) if field == GRAPH)


def read_opset(data: Any) -> int:
    """The version of ONNX's own operators that a model is written in; 0 where it does not say."""
    for field, start, end in read_messages(data, 0, len(data)):
        if field == _OPSET:
            entry = {number: (first, last) for number, first, last in read_fields(data, start, end)}
            domain = entry.get(_OPSET_DOMAIN, (0, 0))
            if domain[0] == domain[1] and _OPSET_VERSION in entry:
                return entry[_OPSET_VERSION][0]
    return 0


def read_node(data: Any, start: int, end: int) -> NodeHead:
    """The head of a node that lies there."""
    operator = domain = ""
    inputs, outputs = [], []
    integers: dict[str, int] = {}
    for field, first, last in read_messages(data, start, end):
        if field == _INPUTS:
            inputs.append(_text(data, first, last))
        elif field == _OUTPUTS:
            outputs.append(_text(data, first, last))
        elif field == _OPERATOR:
            operator = _text(data, first, last)
        elif field == _DOMAIN:
            domain = _text(data, first, last)
        elif field == _ATTRIBUTE:
            entry = {number: (a, b) for number, a, b in read_fields(data, first, last)}
            if _ATTRIBUTE_NAME in entry and _ATTRIBUTE_INT in entry:
                integers[_text(data, *entry[_ATTRIBUTE_NAME])] = entry[_ATTRIBUTE_INT][0]
    return NodeHead(operator, domain, tuple(inputs), tuple(outputs), integers)


def read_tensor(data: Any, start: int, end: int) -> TensorHead:
    """The head of a weight that lies there."""
    name, dtype, inside = "", 0, None
    dims: list[int] = []
    beside: dict[bytes, bytes] = {}
    for field, first, last in read_fields(data, start, end):
        if field == _DIMS:
            dims += [first] if last < 0 else _numbers(data, first, last)
        elif field == _DTYPE:
            dtype = first
        elif field == _NAME:
            name = _text(data, first, last)
        elif field == _RAW_DATA:
            inside = first, last
        elif field == _EXTERNAL_DATA:
            entry = {number: bytes(data[a:b]) for number, a, b in read_messages(data, first, last)}
            beside[entry.get(_KEY, b"")] = entry.get(_VALUE, b"")
    offset, length = (int(beside.get(key, b"0")) for key in (b"offset", b"length"))
    location = beside.get(b"location", b"").decode("utf-8", "replace")
    return TensorHead(name, dtype, tuple(dims), inside, location, offset, length)


def read_name(data: Any, start: int, end: int) -> str:
    """The name of an input or output that lies there."""
    return next((_text(data, first, last) for field, first, last in read_messages(data, start, end) if field == 1), "")


def _numbers(data: Any, start: int, end: int) -> list[int]:
    found = []
    while start < end:
        value, start = read_varint(data, start)
        found.append(value)
    return found


def _text(data: Any, start: int, end: int) -> str:
    return bytes(data[start:end]).decode("utf-8", "replace")
