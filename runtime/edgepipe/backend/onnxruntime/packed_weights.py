"""How much of a graph's weights onnxruntime copies into private memory when it loads the graph.

Weights that lie beside the graph are mapped from their file. Those of matrix products are copied, in the order in which
the processor's kernels read them ("prepacking"), unless a session turns that off; embeddings stay in the file. Weights
within the graph are private in any case. `python -m benchmarks.pipelines.memory` shows what is counted here beside what
a load takes.

Of the graph's bytes only the heads of its nodes and tensors are read (https://protobuf.dev/programming-guides/encoding,
``onnx.proto`` has the numbers of the fields).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepipe.backend.external_data import open_graph, read_fields, read_messages
from edgepipe.backend.machine import cpu_flags
from edgepipe.backend.onnxruntime.ort_module import CPU
from edgepipe.backend.onnxruntime.providers import provider_name, resolve_providers
from edgepipe.backend.session import MemoryNeed, SessionConfig

_GRAPH = 7
_NODE, _INITIALIZER = 1, 5
_INPUT, _OPERATOR, _ATTRIBUTE = 1, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT = 1, 3
_DTYPE, _NAME, _RAW_DATA, _EXTERNAL_DATA = 2, 8, 9, 13
_KEY, _VALUE = 1, 2

_FLOAT = 1
# Operators whose weights are packed, and which of their inputs those are. With weights in fp32 on every processor.
_PACKED = {"MatMul": 1, "FusedMatMul": 1, "Gemm": 1}
# With integers on processors that have kernels for them: x86 with AVX2, ARM with dot products.
_PACKED_INTEGERS = {"MatMulInteger": 1, "DynamicQuantizeMatMul": 1, "MatMulNBits": 1}
_INTEGER_FLAGS = frozenset({"avx2", "asimddp"})


def count_memory(graph: Path, config: SessionConfig) -> MemoryNeed:
    """The least memory that the weights of a graph take.

    Nothing is counted where it is not known: on other devices than processors, with session options of the caller.

    Raises:
        ValueError: the graph is damaged.
        IndexError: it ends too early.
    """
    providers = resolve_providers(config.device, config.providers)
    if config.session_options is not None or any(provider_name(provider) != CPU for provider in providers):
        return MemoryNeed()
    found = _weigh(graph)
    private = min(found.packed, found.expanded) if config.low_memory else found.packed
    return MemoryNeed(found.inside + private, found.mapped)


def is_smaller_packed(graph: Path) -> bool:
    """Whether a graph takes less memory with packed weights than without.

    Without, onnxruntime's MatMulNBits writes a whole matrix in fp32 for each product: of the words of a vocabulary,
    that is more than all weights in 4 bits.
    """
    try:
        found = _weigh(graph)
    except (OSError, ValueError, IndexError):  # the load says what is wrong
        return False
    return found.expanded > found.packed


@dataclass(frozen=True, slots=True)
class _Weights:
    """The weights of a graph in bytes.

    Attributes:
        inside: Within the graph.
        mapped: In files beside it.
        packed: Of these, what is copied where weights are packed.
        expanded: The largest matrix that is written in fp32 for a product where they are not.
    """

    inside: int
    mapped: int
    packed: int
    expanded: int


def _weigh(graph: Path) -> _Weights:
    with open_graph(graph) as data:
        return _weigh_model(data)


def _weigh_model(data: Any) -> _Weights:
    packed: set[str] = set()
    inside = expanded = 0
    beside: dict[str, tuple[int, bool]] = {}
    integers = bool(cpu_flags() & _INTEGER_FLAGS)
    for message, start, end in read_messages(data, 0, len(data)):
        if message != _GRAPH:
            continue
        for kind, first, last in read_messages(data, start, end):
            if kind == _NODE:
                names, size = _read_node(data, first, last, integers)
                packed |= names
                expanded = max(expanded, size)
            elif kind == _INITIALIZER:
                name, size, is_inside, is_float = _read_tensor(data, first, last)
                if is_inside:
                    inside += size
                else:
                    beside[name] = size, is_float
    copied = sum(size for name, (size, is_float) in beside.items() if name in packed and (is_float or integers))
    return _Weights(inside, sum(size for size, _ in beside.values()), copied, expanded)


def _read_node(data: Any, start: int, end: int, integers: bool) -> tuple[set[str], int]:
    """The weights of a node that are packed, by name, and the bytes of its matrix in fp32 if that is in fewer bits."""
    inputs, operator = [], ""
    sizes: dict[bytes, int] = {}
    for field, first, last in read_messages(data, start, end):
        if field == _INPUT:
            inputs.append(data[first:last].decode("utf-8", "replace"))
        elif field == _OPERATOR:
            operator = data[first:last].decode("utf-8", "replace")
        elif field == _ATTRIBUTE:
            entry = {number: (a, b) for number, a, b in read_fields(data, first, last)}
            if _ATTRIBUTE_NAME in entry and _ATTRIBUTE_INT in entry:
                sizes[data[slice(*entry[_ATTRIBUTE_NAME])]] = entry[_ATTRIBUTE_INT][0]
    place = _PACKED.get(operator, _PACKED_INTEGERS.get(operator) if integers else None)
    expanded = 4 * sizes.get(b"K", 0) * sizes.get(b"N", 0) if operator == "MatMulNBits" else 0
    return set() if place is None else set(inputs[place : place + 1]), expanded


def _read_tensor(data: Any, start: int, end: int) -> tuple[str, int, bool, bool]:
    """The name of a tensor, its bytes, whether these are within the graph, and whether they are fp32."""
    name, inside, beside, dtype = "", 0, 0, 0
    for field, first, last in read_fields(data, start, end):
        if field == _DTYPE:
            dtype = first
        elif field == _NAME:
            name = data[first:last].decode("utf-8", "replace")
        elif field == _RAW_DATA:
            inside = last - first
        elif field == _EXTERNAL_DATA:
            entry = {number: data[a:b] for number, a, b in read_messages(data, first, last)}
            if entry.get(_KEY) == b"length":
                beside = int(entry.get(_VALUE, b"0"))
    return name, beside or inside, not beside, dtype == _FLOAT
