"""The files that a graph names, checked before any engine opens one.

A tensor of an ONNX graph may lie in another file, at the ``location`` that the graph names. Engines differ in what they
take there: onnxruntime before 1.24 reads any file of the machine. An ``EPContext`` node holds what a provider has
compiled, or names a file of it (https://onnxruntime.ai/docs/execution-providers/EP-Context-Design.html): a program for
a device, which nothing checks. ``Snpe`` is its like. No bundle needs one.

So both are looked for here, in the graph's bytes alone, wherever a tensor or a node can be: in the graph, subgraphs,
functions and sparse tensors. Of a graph's messages only headers are looked at, and none in which the words are not
(https://protobuf.dev/programming-guides/encoding has the bytes, ``onnx.proto`` the numbers of the fields).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgepipe.bundle.containment import is_within
from edgepipe.bundle.integrity import EXPORT_AGAIN, find_obstacle, unreadable_error
from edgepipe.errors import BundleError

# The messages of onnx.proto that a tensor or a node can be in: field number -> the message that it holds.
_ENTRY: Mapping[int, Any] = {}
_OPERATOR: Mapping[int, Any] = {}
_TENSOR: Mapping[int, Any] = {13: _ENTRY}
_SPARSE: Mapping[int, Any] = {1: _TENSOR, 2: _TENSOR}
_ATTRIBUTE: dict[int, Any] = {5: _TENSOR, 10: _TENSOR, 22: _SPARSE, 23: _SPARSE}
_NODE: Mapping[int, Any] = {4: _OPERATOR, 5: _ATTRIBUTE}
_GRAPH: Mapping[int, Any] = {1: _NODE, 5: _TENSOR, 15: _SPARSE}
_ATTRIBUTE |= {6: _GRAPH, 11: _GRAPH}
_FUNCTION: Mapping[int, Any] = {7: _NODE, 11: _ATTRIBUTE}
_TRAINING: Mapping[int, Any] = {1: _GRAPH, 2: _GRAPH}
_MODEL: Mapping[int, Any] = {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION}

_LOCATION = b"location"
# Operators whose attributes are compiled. Of any domain: providers look at the name alone.
_COMPILED = (b"EPContext", b"Snpe")
_WORDS = (_LOCATION, *_COMPILED)
# A message of at most so many bytes is searched for these words first.
_SEARCHED = 65_536
# A graph of more bytes is mapped, not read.
_MAPPED = 16_000_000
# The fields that are looked at; the largest graphs have some 100,000.
_MOST_FIELDS = 1_000_000
_LARGEST_TAG = 2**32 - 1

# What no name of a file should have; onnxruntime has names with * for addresses in memory.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f*?\"<>|:\\]")


def check_external_data(graph: Path) -> None:
    """Check that each file which a graph names for its weights is one of those beside it, and that nothing is compiled.

    Args:
        graph: The graph's file; in a snapshot of the Hub's cache it and its weights are links to one folder.

    Raises:
        BundleError: a location is absolute, leads out of the graph's folder, by ``..`` or by a link, or is no file; a
            node holds what was compiled; or the graph is damaged.
    """
    try:
        with open_graph(graph) as data:
            locations = set(_find_locations(data))
    except _CompiledNode as error:
        raise BundleError(
            f"{graph} has a node {error}: a part that was compiled for a device, or the name of a file with one. It was"
            " not loaded: what is in there cannot be checked, and bundles have none. Take the graph from before it was"
            " compiled"
        ) from error
    except OSError as error:
        raise unreadable_error(graph, error) from error
    except (IndexError, ValueError) as error:
        size = graph.stat().st_size
        raise BundleError(
            f"cannot load {graph}: {graph} is no whole ONNX graph, its {size} bytes are truncated or altered; "
            f"{EXPORT_AGAIN}"
        ) from error
    folders = {Path(os.path.realpath(graph.parent)), Path(os.path.realpath(graph)).parent} if locations else set()
    for location in sorted(locations):
        _check_location(graph, location, folders)


def _check_location(graph: Path, location: bytes, folders: set[Path]) -> None:
    try:
        name = location.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refuse(graph, repr(location)) from error
    if not name or name.startswith("/") or ".." in name.split("/") or _FORBIDDEN.search(name):
        raise _refuse(graph, repr(name))
    path = graph.parent / name
    obstacle = find_obstacle(path)
    if obstacle is not None:
        raise BundleError(f"cannot load {graph}: {obstacle}")
    target = Path(os.path.realpath(path))
    if not is_within(target, *folders):
        raise _refuse(graph, f"{name!r}, a link to {target},")


def _refuse(graph: Path, location: str) -> BundleError:
    return BundleError(
        f"{graph} names {location:.200} as a file with its weights, which is not within {graph.parent}; it was not "
        "loaded: such a graph reads files that are none of its own. Take the bundle from a source that you trust"
    )


class _CompiledNode(Exception):  # noqa: N818 - it ends a search; nobody sees it
    """A node that an execution provider has compiled."""


@contextmanager
def open_graph(path: Path) -> Iterator[Any]:
    """The bytes of a graph; those of a large one are mapped."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= _MAPPED:
            yield file.read()
            return
        import mmap

        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped


def _find_locations(data: Any) -> Iterator[bytes]:
    """The value of each ``location`` of a model.

    Raises:
        _CompiledNode: it has a node of compiled code; its operator is the error's text.
        ValueError: a message ends within a field, there are too many fields, or a field is none of ONNX's.
        IndexError: it ends too early.
    """
    left = _MOST_FIELDS
    waiting: list[tuple[int, int, Mapping[int, Any]]] = [(0, len(data), _MODEL)]
    while waiting:
        place, end, message = waiting.pop()
        if message is _ENTRY:
            yield from _read_entry(data, place, end)
            continue
        if message is _OPERATOR:
            if (name := bytes(data[place:end])) in _COMPILED:
                raise _CompiledNode(name.decode())
            continue
        while place < end:
            left -= 1
            tag = data[place]
            place += 1
            if tag > 0x7F:
                tag, place = read_varint(data, place - 1)
                if tag > _LARGEST_TAG:  # some readers drop the bits above
                    raise ValueError
            wire = tag & 7
            if wire == 2:
                size = data[place]
                place += 1
                if size > 0x7F:
                    size, place = read_varint(data, place - 1)
                start, place = place, place + size
                inner = message.get(tag >> 3)
                if inner is not None and (
                    size > _SEARCHED or any(data.find(word, start, place) >= 0 for word in _WORDS)
                ):
                    waiting.append((start, place, inner))
            elif wire == 0:
                while data[place] > 0x7F:
                    place += 1
                place += 1
            elif wire in (1, 5):
                place += 8 if wire == 1 else 4
            else:
                raise ValueError  # a group, or nothing that there is
        if place != end or left < 0:
            raise ValueError


def _read_entry(data: Any, place: int, end: int) -> Iterator[bytes]:
    """The values of an entry, where it is a location's: each, whatever their number and order."""
    keys: list[bytes] = []
    values: list[bytes] = []
    while place < end:
        tag, place = read_varint(data, place)
        if tag > _LARGEST_TAG:
            raise ValueError
        if tag & 7 == 0:
            _, place = read_varint(data, place)
            continue
        if tag & 7 != 2:
            raise ValueError
        size, place = read_varint(data, place)
        (keys if tag >> 3 == 1 else values if tag >> 3 == 2 else []).append(bytes(data[place : place + size]))
        place += size
    if place != end:
        raise ValueError
    if _LOCATION in keys:
        yield from values or [b""]


def read_varint(data: Any, place: int) -> tuple[int, int]:
    """A number and the place behind it."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte <= 0x7F:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError


def read_messages(data: Any, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message that have a length: number, start and end."""
    return (each for each in read_fields(data, place, end) if each[2] >= 0)


def read_fields(data: Any, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message: number, start and end; of a number its value and -1.

    Raises:
        ValueError: a field is none of ONNX's, or ends behind the message.
        IndexError: the data end too early.
    """
    while place < end:
        tag, place = read_varint(data, place)
        number, wire = tag >> 3, tag & 7
        if wire == 2:
            size, place = read_varint(data, place)
            if place + size > end:
                raise ValueError
            yield number, place, place + size
            place += size
        elif wire == 0:
            value, place = read_varint(data, place)
            yield number, value, -1
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        else:
            raise ValueError  # a group, or nothing that there is
