"""How much of a graph's weights onnxruntime copies into private memory when it loads the graph.

Weights that lie beside the graph are mapped from their file. Those of matrix products are copied, in the order in which
the processor's kernels read them ("prepacking"), unless a session turns that off; embeddings stay in the file. Weights
within the graph are private in any case. `python -m benchmarks.pipelines.memory` shows what is counted here beside what
a load takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepipe.backend.external_data import open_graph, read_messages
from edgepipe.backend.machine import cpu_flags
from edgepipe.backend.onnxruntime.graphs.integer_products import GIVEN, rewrite_products
from edgepipe.backend.onnxruntime.graphs.onnx_reader import (
    INITIALIZER,
    NODE,
    NodeHead,
    read_graphs,
    read_node,
    read_tensor,
)
from edgepipe.backend.onnxruntime.ort_module import CPU
from edgepipe.backend.onnxruntime.providers import provider_name, resolve_providers
from edgepipe.backend.session import MemoryNeed, SessionConfig

# TensorProto.DataType, and the bytes of one number.
_FLOAT, _FLOAT_BYTES = 1, 4
# Operators whose weights are packed, and which of their inputs those are. With weights in fp32 on every processor.
_PACKED = {"MatMul": 1, "FusedMatMul": 1, "Gemm": 1}
# With integers on processors that have kernels for them: x86 with AVX2, ARM with dot products.
_PACKED_INTEGERS = {"MatMulInteger": 1, "MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1, "MatMulNBits": 1}
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
    found = _weigh(graph, integer_products=config.integer_products)
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
        inside: Within the graph, or made for it.
        mapped: In files beside it.
        packed: Of these, what is copied where weights are packed.
        expanded: The largest matrix that is written in fp32 for a product where they are not.
    """

    inside: int
    mapped: int
    packed: int
    expanded: int


def _weigh(graph: Path, *, integer_products: bool = False) -> _Weights:
    with open_graph(graph) as data:
        return _weigh_model(rewrite_products(data) if integer_products else data)


def _weigh_model(data: Any) -> _Weights:
    packed: set[str] = set()
    inside = expanded = 0
    beside: dict[str, tuple[int, bool]] = {}
    given: dict[str, int] = {}
    integers = bool(cpu_flags() & _INTEGER_FLAGS)
    for start, end in read_graphs(data):
        for kind, first, last in read_messages(data, start, end):
            if kind == NODE:
                node = read_node(data, first, last)
                packed |= _packed_inputs(node, integers)
                if node.operator == "MatMulNBits":
                    expanded = max(expanded, _FLOAT_BYTES * node.integers.get("K", 0) * node.integers.get("N", 0))
            elif kind == INITIALIZER:
                tensor = read_tensor(data, first, last)
                if tensor.location == GIVEN:
                    size = math.prod(tensor.dims) * (_FLOAT_BYTES if tensor.dtype == _FLOAT else 1)
                    inside += size
                    given[tensor.name] = size
                elif tensor.length:
                    beside[tensor.name] = tensor.length, tensor.dtype == _FLOAT
                elif tensor.inside is not None:
                    inside += tensor.inside[1] - tensor.inside[0]
    copied = sum(size for name, (size, is_float) in beside.items() if name in packed and (is_float or integers))
    copied += sum(size for name, size in given.items() if name in packed)
    return _Weights(inside, sum(size for size, _ in beside.values()), copied, expanded)


def _packed_inputs(node: NodeHead, integers: bool) -> set[str]:
    """The weights of a node that are packed, by name."""
    place = _PACKED.get(node.operator, _PACKED_INTEGERS.get(node.operator) if integers else None)
    return set() if place is None else set(node.inputs[place : place + 1])
