"""Where a decoder's keys and values lie from step to step: in buffers that stay, or in what the graph returned."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgepipe.errors import BundleError
from edgepipe.session import value_over

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.session import Binding, Session

    Shapes = Mapping[str, tuple[int, int, str]]

# How much more than it needs a buffer gets when it must grow, so that growing costs little a token.
_GROWTH = 1.5


class Cache(Protocol):
    """Keys and values of a decoder's own tokens."""

    def bind(self, binding: Binding, total: int) -> None:
        """Name inputs and outputs for a run after which the cache has `total` tokens."""
        ...

    def took(self, outputs: Mapping[str, Any]) -> None:
        """Keep what the run gave."""
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


class SharedCache:
    """Buffers that the graph reads as its past and writes as its present, for graphs whose attention can do that.

    All buffers of one shape are one array, float[buffers, rows, heads, capacity, width], so that moving rows takes one
    operation. Only the first `length` tokens of a row mean anything.
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
        self._names: dict[tuple[int, int, str], list[str]] = {}
        for name, shape in shapes.items():
            self._names.setdefault(shape, []).append(name)
        self._arrays = [self._empty(shape, len(names), rows) for shape, names in self._names.items()]
        self._bound_to: Binding | None = None

    def _empty(self, shape: tuple[int, int, str], count: int, rows: int) -> NDArray[Any]:
        heads, width, dtype = shape
        return np.empty((count, rows, heads, self._capacity, width), dtype)

    def bind(self, binding: Binding, total: int) -> None:
        """See :class:`Cache`."""
        if total > self._capacity:
            self._capacity = max(total, int(_GROWTH * self._capacity))
            self._move(np.arange(self._rows))
        if self._bound_to is not binding:
            for names, array in zip(self._names.values(), self._arrays, strict=True):
                for name, buffer in zip(names, array, strict=True):
                    value = value_over(buffer[: self._rows])
                    binding.feed(name, value)
                    binding.give(present_name(name), value)
            self._bound_to = binding
        self._length = total

    def took(self, outputs: Mapping[str, Any]) -> None:
        """See :class:`Cache`; everything is in its place."""

    def select(self, rows: NDArray[np.int64], agreeing: NDArray[np.int64]) -> None:
        """See :class:`Cache`; only what differs is moved."""
        if len(rows) > self._arrays[0].shape[1]:
            self._rows = len(rows)
            self._move(rows)
            return
        places = np.flatnonzero(agreeing < self._length)
        if len(places):
            tokens = slice(int(agreeing[places].min()), self._length)
            for array in self._arrays:
                # The right side is a copy, so that places may be sources too.
                array[:, places, :, tokens] = array[:, rows[places], :, tokens]
        if len(rows) != self._rows:
            self._rows = len(rows)
            self._bound_to = None

    def _move(self, rows: NDArray[np.int64]) -> None:
        """Copy into buffers of another size."""
        moved = []
        for (shape, names), array in zip(self._names.items(), self._arrays, strict=True):
            larger = self._empty(shape, len(names), len(rows))
            larger[:, :, :, : self._length] = array[:, rows, :, : self._length]
            moved.append(larger)
        self._arrays = moved
        self._bound_to = None


class ReturnedCache:
    """The graph's outputs, which become its inputs at the next run, for graphs that concatenate."""

    def __init__(self, shapes: Shapes, rows: int) -> None:
        """Begin without tokens.

        Args:
            shapes: Heads, width and dtype of each input of the graph.
            rows: How many rows.
        """
        self._values: dict[str, Any] = {
            name: value_over(np.empty((rows, heads, 0, width), dtype)) for name, (heads, width, dtype) in shapes.items()
        }

    def bind(self, binding: Binding, total: int) -> None:
        """See :class:`Cache`."""
        for name, value in self._values.items():
            binding.feed(name, value)
            binding.give(present_name(name))

    def took(self, outputs: Mapping[str, Any]) -> None:
        """See :class:`Cache`."""
        self._values = {name: outputs[present_name(name)] for name in self._values}

    def select(self, rows: NDArray[np.int64], agreeing: NDArray[np.int64]) -> None:
        """See :class:`Cache`; every row is copied."""
        self._values = {name: value_over(value.numpy()[rows]) for name, value in self._values.items()}


class NoCache:
    """Of a graph without a cache: every step computes all tokens again."""

    def bind(self, binding: Binding, total: int) -> None:
        """See :class:`Cache`."""

    def took(self, outputs: Mapping[str, Any]) -> None:
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


def make_cache(shapes: Shapes, rows: int, capacity: int, *, shares: bool) -> Cache:
    """The cache for a graph.

    Args:
        shapes: See :func:`layer_shapes`.
        rows: How many rows.
        capacity: How many tokens are expected.
        shares: Whether the graph may write its present into the buffer of its past.
    """
    if not shapes:
        return NoCache()
    return SharedCache(shapes, rows, capacity) if shares else ReturnedCache(shapes, rows)
