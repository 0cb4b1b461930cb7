"""What a token takes in a decoder's cache, read from the graph's file: no engine, and no weights in memory.

A graph declares its inputs with their shapes: ``past_key_values.0.key``, float32[batch, 12, past, 64]. The numbers of
the fields are those of ``onnx.proto``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepipe.backend.external_data import open_graph, read_fields, read_messages
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.layout import PAST, PAST_WINDOW_LENGTH
from edgepipe.models.kv_memory import count_token_bytes

# ModelProto.graph, GraphProto.input; ValueInfoProto.name and .type, TypeProto.tensor_type and of that the type of its
# elements and its shape, TensorShapeProto.dim, Dimension.dim_value and .dim_param.
_GRAPH, _INPUT = 7, 11
_NAME, _TYPE, _TENSOR, _ELEMENT, _SHAPE, _DIMENSION, _SIZE, _AXIS = 1, 2, 1, 1, 2, 1, 1, 2
# Types of elements that a cache can have; bfloat16 is counted as float16.
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 10: "float16", 11: "float64", 16: "float16"}

# The name of an input, its heads, width and dtype, and the axis of its tokens.
_Input = tuple[str, tuple[int, int, str], int | str]


@dataclass(frozen=True, slots=True)
class CachedTokenBytes:
    """What one token of one row takes in a decoder's cache, in bytes.

    Attributes:
        own: A token that the decoder reads or writes.
        source: A token that the encoder reads; 0 where there is none.
        windowed: Of `own` what layers with a window take, who keep the last tokens alone.
    """

    own: int
    source: int = 0
    windowed: int = 0


def read_token_bytes(bundle: Bundle, dtype: str) -> CachedTokenBytes | None:
    """What a token takes in the cache of a variant; None for one without a cache, or whose graph cannot be read."""
    try:
        inputs = [found for file in bundle.files(dtype) if file.suffix == ".onnx" for found in _read(file)]
    except (OSError, ValueError, IndexError):  # a load says what is wrong
        return None
    if not inputs:
        return None
    source = {name: shape for name, shape, _ in inputs if ".encoder." in name}
    own = {name: shape for name, shape, _ in inputs if name not in source}
    windowed = {name: shape for name, shape, axis in inputs if axis == PAST_WINDOW_LENGTH}
    return CachedTokenBytes(*map(count_token_bytes, (own, source, windowed)))


def _read(graph: Path) -> list[_Input]:
    """The inputs of a graph that are a cache."""
    with open_graph(graph) as data:
        found = [
            _read_input(data, first, last)
            for field, start, end in read_messages(data, 0, len(data))
            if field == _GRAPH
            for kind, first, last in read_messages(data, start, end)
            if kind == _INPUT
        ]
    return [each for each in found if each is not None]


def _read_input(data: Any, start: int, end: int) -> _Input | None:
    fields = {number: (first, last) for number, first, last in read_messages(data, start, end)}
    if _NAME not in fields or _TYPE not in fields:
        return None
    name = bytes(data[slice(*fields[_NAME])]).decode("utf-8", "replace")
    if not name.startswith(PAST):
        return None
    tensor = {number: place for number, *place in read_fields(data, *fields[_TYPE])}
    element: int = 0
    sizes: list[int | str] = []
    for number, first, last in read_fields(data, *tensor[_TENSOR]) if _TENSOR in tensor else ():
        if number == _ELEMENT:
            element = first
        elif number == _SHAPE:
            sizes = [
                _read_size(data, *place) for kind, *place in read_messages(data, first, last) if kind == _DIMENSION
            ]
    heads, width = (sizes[1], sizes[3]) if len(sizes) == 4 else ("", "")
    if not isinstance(heads, int) or not isinstance(width, int) or element not in _DTYPES:
        raise ValueError
    return name, (heads, width, _DTYPES[element]), sizes[2]


def _read_size(data: Any, start: int, end: int) -> int | str:
    """A dimension: its number, or the name of one that varies."""
    for number, first, last in read_fields(data, start, end):
        if number == _SIZE:
            return int(first)
        if number == _AXIS:
            return bytes(data[first:last]).decode("utf-8", "replace")
    return ""
