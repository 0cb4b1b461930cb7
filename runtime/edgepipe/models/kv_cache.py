"""Where a decoder's keys and values lie from step to step: in buffers that grow in place, or in two by turns."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgepipe.backend.onnxruntime.device_memory import HOST, Place
from edgepipe.backend.onnxruntime.io_binding import value_over
from edgepipe.errors import BundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.backend.onnxruntime.io_binding import Binding
    from edgepipe.backend.onnxruntime.session import Session

    Shapes = Mapping[str, tuple[int, int, str]]

# How much more than it needs a buffer gets when it must grow, so that growing costs little a token.
GROWTH = 1.5


class Cache(Protocol):
    """Keys and values of a decoder's own tokens."""

    def bind(self, binding: Binding, total: int) -> None:
        """Name inputs and outputs for a run after which the cache has `total` tokens."""
        ...

    def select(self, rows: NDArray[np.int64], agreeing: NDArray[np.int64]) -> None:
        """Make the rows those of these indices.

        Args:
            rows: int64[kept], a former row for each place.
            agreeing: int64[kept], how many of its tokens the row that lies in that place has too; at most the length.
        """
        ...


def present_name(past: str) -> str:
    """The output that becomes an input: ``past_key_values.0.key`` -> ``present.0.key``."""
    return past.replace("past_key_values", "present", 1)


class _Buffers:
    """Arrays for keys and values: all of one shape in one, so that moving rows takes one operation.

    Attributes:
        arrays: float[tensors, rows, heads, tokens, width] each.
    """

    def __init__(self, shapes: Shapes) -> None:
        self._names: dict[tuple[int, int, str], list[str]] = {}
        for name, shape in shapes.items():
            self._names.setdefault(shape, []).append(name)
        self.arrays: list[NDArray[Any]] = []

    def fresh(self, rows: int, tokens: int, over: list[NDArray[Any]] | None = None) -> list[NDArray[Any]]:
        """Arrays for so many rows and tokens, with any content.

        Args:
            rows: How many rows.
            tokens: How many tokens of each.
            over: One-dimensional arrays to lie over, where they are large enough.
        """
        found = []
        for index, ((heads, width, dtype), names) in enumerate(self._names.items()):
            shape = (len(names), rows, heads, tokens, width)
            size = math.prod(shape)
            memory = over[index] if over is not None else None
            found.append(np.empty(shape, dtype) if memory is None else memory[:size].reshape(shape))
        return found

    def sizes(self, rows: int, tokens: int) -> list[tuple[int, str]]:
        """Elements and dtype of each array."""
        return [
            (len(names) * rows * heads * tokens * width, dtype) for (heads, width, dtype), names in self._names.items()
        ]

    def named(self, arrays: list[NDArray[Any]], rows: int) -> Iterator[tuple[str, NDArray[Any]]]:
        """Each input's name with its part of the arrays, float[rows, heads, tokens, width]."""
        for names, array in zip(self._names.values(), arrays, strict=True):
            for name, part in zip(names, array, strict=True):
                yield name, part[:rows]

    def move(self, rows: NDArray[np.int64], agreeing: NDArray[np.int64], length: int) -> None:
        """Put rows into the first places, as :meth:`Cache.select`; only what differs is copied."""
        places = np.flatnonzero(agreeing < length)
        if len(places):
            tokens = slice(int(agreeing[places].min()), length)
            for array in self.arrays:
                # The right side is a copy, so that places may be sources too.
                array[:, places, :, tokens] = array[:, rows[places], :, tokens]


class SharedCache:
    """Buffers that the graph reads as its past and writes as its present, for graphs whose attention can do that.

    Only the first `length` tokens of a row mean anything.
    """

    def __init__(self, shapes: Shapes, rows: int, capacity: int) -> None:
        """Make buffers.

        Args:
            shapes: Heads, width and dtype of each input of the graph.
            rows: How many rows.
            capacity: How many tokens of each.
        """
        self._rows = rows
        self._capacity = capacity
        self._length = 0
        self._buffers = _Buffers(shapes)
        self._buffers.arrays = self._buffers.fresh(rows, capacity)
        self._bound_to: Binding | None = None

    def bind(self, binding: Binding, total: int) -> None:
        """See :class:`Cache`."""
        if total > self._capacity:
            self._capacity = max(total, int(GROWTH * self._capacity))
            self._copy(np.arange(self._rows))
        if self._bound_to is not binding:
            for name, buffer in self._buffers.named(self._buffers.arrays, self._rows):
                value = value_over(buffer)
                binding.feed(name, value)
                binding.give(present_name(name), value)
            self._bound_to = binding
        self._length = total

    def select(self, rows: NDArray[np.int64], agreeing: NDArray[np.int64]) -> None:
        """See :class:`Cache`."""
        if len(rows) > self._buffers.arrays[0].shape[1]:
            self._rows = len(rows)
            self._copy(rows)
            return
        self._buffers.move(rows, agreeing, self._length)
        if len(rows) != self._rows:
            self._rows = len(rows)
            self._bound_to = None

    def _copy(self, rows: NDArray[np.int64]) -> None:
        """Go on in buffers of another size."""
        larger = self._buffers.fresh(len(rows), self._capacity)
        for old, new in zip(self._buffers.arrays, larger, strict=True):
            new[:, :, :, : self._length] = old[:, rows, :, : self._length]
        self._buffers.arrays = larger
        self._bound_to = None


class SwappedCache:
    """Two memories in turns, for graphs that concatenate: the past is in the one, the present goes to the other."""

    def __init__(self, shapes: Shapes, rows: int, capacity: int) -> None:
        """Begin without tokens.

        Args:
            shapes: Heads, width and dtype of each input of the graph.
            rows: How many rows.
            capacity: How many tokens of each are expected.
        """
        self._rows = rows
        self._length = 0
        self._capacity = capacity
        self._buffers = _Buffers(shapes)
        self._buffers.arrays = self._buffers.fresh(rows, 0)
        self._memories: list[list[NDArray[Any]]] = [[], []]
        self._values: dict[str, Any] = {}

    def bind(self, binding: Binding, total: int) -> None:
        """See :class:`Cache`."""
        past = self._buffers.arrays
        self._memories.reverse()
        present = self._buffers.fresh(self._rows, total, self._memory(total))
        for name, buffer in self._buffers.named(past, self._rows):
            # What a run wrote is read by the next as the value it is: making one takes longer than binding it.
            binding.feed(name, self._values.get(name, buffer))
        self._values = {name: value_over(buffer) for name, buffer in self._buffers.named(present, self._rows)}
        for name, value in self._values.items():
            binding.give(present_name(name), value)
        self._buffers.arrays = present
        self._length = total

    def _memory(self, total: int) -> list[NDArray[Any]]:
        """The memory whose turn it is, made larger where that is needed."""
        sizes = self._buffers.sizes(self._rows, total)
        if not self._memories[0] or any(
            memory.size < size for memory, (size, _) in zip(self._memories[0], sizes, strict=True)
        ):
            self._capacity = total if total <= self._capacity else int(GROWTH * total)
            roomy = self._buffers.sizes(self._rows, max(self._capacity, total))
            self._memories[0] = [np.empty(size, dtype) for size, dtype in roomy]
        return self._memories[0]

    def select(self, rows: NDArray[np.int64], agreeing: NDArray[np.int64]) -> None:
        """See :class:`Cache`."""
        if len(rows) > self._rows:
            self._buffers.arrays = [array[:, rows] for array in self._buffers.arrays]
        else:
            self._buffers.move(rows, agreeing, self._length)
        if len(rows) != self._rows:
            self._rows = len(rows)
            self._values = {}


class NoCache:
    """Of a graph without a cache: every step computes all tokens again."""

    def bind(self, binding: Binding, total: int) -> None:
        """See :class:`Cache`."""

    def select(self, rows: NDArray[np.int64], agreeing: NDArray[np.int64]) -> None:
        """See :class:`Cache`."""


class History:
    """The tokens of every row: what two rows have in common, they have in common in the cache too.

    Attributes:
        tokens: int64[rows, length], -1 for padding.
    """

    def __init__(self, rows: int) -> None:
        self.tokens: NDArray[np.int64] = np.empty((rows, 0), np.int64)
        self._source = np.arange(rows)

    def append(self, tokens: NDArray[np.int64]) -> None:
        """Add int64[rows, new] tokens."""
        self.tokens = np.concatenate([self.tokens, tokens], axis=1)

    def agreeing(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many tokens each place's row has in common with the one that is to come there, int64[kept].

        Rows that come from different inputs have none in common, whatever their tokens.
        """
        result = np.zeros(len(rows), np.int64)
        places = np.arange(min(len(rows), len(self.tokens)))
        coming = rows[places]
        differs = self.tokens[places] != self.tokens[coming]
        length = self.tokens.shape[1]
        common = np.where(differs.any(axis=1), differs.argmax(axis=1), length) if length else np.zeros(len(places))
        result[places] = np.where(self._source[places] == self._source[coming], common, 0)
        return result

    def select(self, rows: NDArray[np.int64]) -> None:
        """Make the rows those of these indices."""
        self.tokens = self.tokens[rows]
        self._source = self._source[rows]


def layer_shapes(session: Session, origin: Path) -> dict[str, tuple[int, int, str]]:
    """Heads, width and dtype of each cache input, from the graph's declaration [batch, heads, length, width].

    Warns where there is none.

    Raises:
        BundleError: the graph does not declare heads and width.
    """
    found = {}
    for name, shape in session.input_shapes.items():
        if not name.startswith("past_key_values."):
            continue
        if len(shape) != 4 or not isinstance(shape[1], int) or not isinstance(shape[3], int):
            raise BundleError(f"{origin} declares {name} as {shape}, expected [batch, heads, length, width]")
        found[name] = (shape[1], shape[3], session.inputs[name])
    if not found:
        warnings.warn(
            f"{origin} has no cache inputs (past_key_values): every step computes the whole text again, which is slow",
            stacklevel=5,
        )
    return found


def make_cache(shapes: Shapes, rows: int, capacity: int, *, shares: bool, place: Place = HOST) -> Cache:
    """The cache for a graph.

    Args:
        shapes: See :func:`layer_shapes`.
        rows: How many rows.
        capacity: How many tokens are expected.
        shares: Whether the graph may write its present into the buffer of its past.
        place: Where the graph computes.
    """
    if not shapes:
        return NoCache()
    if not place.is_host:
        from edgepipe.models.device_kv_cache import SharedDeviceCache, SwappedDeviceCache

        return (SharedDeviceCache if shares else SwappedDeviceCache)(shapes, rows, capacity, place)
    return (SharedCache if shares else SwappedCache)(shapes, rows, capacity)
