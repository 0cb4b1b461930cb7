"""Where a decoder's keys and values lie from step to step: in a buffer that is read and written, or in two by turns."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.device import Device
from edgepipe.backend.session import Binding, Session
from edgepipe.bundle.layout import PAST, present_name
from edgepipe.errors import BundleError
from edgepipe.models.kv_buffers import DeviceBuffer, HostBuffer, KeyValueBuffer, KeyValues, LayerShapes

# How much more than it needs a buffer gets when it must grow, so that growing costs little a token.
GROWTH = 1.5


class Cache(Protocol):
    """Keys and values of a decoder's own tokens."""

    @property
    def is_whole(self) -> bool:
        """Whether it has those of all tokens in all layers."""
        ...

    def bind(self, binding: Binding, total: int) -> None:
        """Bind inputs and outputs for a run after which the cache has `total` tokens."""
        ...

    def clear(self) -> None:
        """Forget all tokens; the rows stay."""
        ...

    def select(self, rows: NDArray[np.int64], common: NDArray[np.int64]) -> None:
        """Make the rows those of these indices.

        Args:
            rows: int64[kept], the former index of each row.
            common: int64[kept], how many of its tokens the row that has had its new index has too; at most the length.
        """
        ...

    def join(self, other: Self, columns: int, others: int) -> None:
        """Take the rows of another cache of this kind behind the own ones, in the host's memory.

        Args:
            other: The cache; it is not used again.
            columns: How many columns of padding the own rows get on the left.
            others: How many the other's rows get; then all have as many.
        """
        ...

    def drop(self, columns: int, room: int | None = None) -> None:
        """Forget the first columns of all rows, in the host's memory.

        Args:
            columns: How many.
            room: For how many tokens there is to be memory then, if that is less; None for as many as there is.
        """
        ...

    def count_blocks(self) -> int:
        """How many arrays :meth:`read` gives."""
        ...

    def read(self, start: int, length: int) -> KeyValues:
        """Copies of what the first row has of `length` tokens from `start` on, in the host's memory."""
        ...

    def load(self, states: Sequence[KeyValues], length: int) -> None:
        """Begin with tokens that were read, in the host's memory; for one row without tokens.

        Args:
            states: Their keys and values, part after part; they are copied.
            length: How many tokens they are.
        """
        ...

    def place(self, other: Self, row: int, columns: int) -> None:
        """Begin a row with that of another cache, in the host's memory; all rows begin so, and get as many columns.

        Args:
            other: A cache of one row.
            row: Which of the own rows.
            columns: How many columns of padding it gets on the left.
        """
        ...

    def crop(self, length: int) -> None:
        """Forget all tokens but the first ones, in the host's memory."""
        ...


class SharedBufferCache:
    """A buffer that the graph reads as its past and writes as its present, for graphs whose attention can do that.

    Rows that cannot be moved in place, or must grow, go to a second buffer.
    """

    def __init__(self, buffer: KeyValueBuffer, spare: KeyValueBuffer, rows: int, capacity: int) -> None:
        """Begin without tokens, with two empty buffers, for so many rows that are expected to get so many tokens."""
        self._buffer, self._spare = buffer, spare
        self._buffer.resize(rows, max(1, capacity))
        self._length = 0
        self._bound_to: Binding | None = None

    def bind(self, binding: Binding, total: int) -> None:
        """See :class:`Cache`."""
        if total > self._buffer.tokens:
            self._move(np.arange(self._buffer.rows), max(total, int(GROWTH * self._buffer.tokens)))
        if self._bound_to is not binding:
            for name, tensor in self._buffer.tensors().items():
                binding.bind_input(name, tensor)
                binding.bind_output(present_name(name), tensor)
            self._bound_to = binding
        self._length = total

    def clear(self) -> None:
        """See :class:`Cache`."""
        self._length = 0

    def select(self, rows: NDArray[np.int64], common: NDArray[np.int64]) -> None:
        """See :class:`Cache`."""
        before = self._buffer.rows
        if len(rows) == before and (common >= self._length).all():
            return
        if not self._buffer.move_rows(rows, common, self._length):
            self._move(rows, self._buffer.tokens)
        elif len(rows) != before:
            self._bound_to = None

    def join(self, other: Self, columns: int, others: int) -> None:
        """See :class:`Cache`; in place where there is room, and else with room for as many rows again."""
        before, length = self._buffer.rows, self._length
        rows, total = before + other._buffer.rows, columns + length
        target = self._buffer
        if rows > target.most_rows or total > target.tokens:
            most = target.most_rows if rows <= target.most_rows else 2 * rows
            # As many more tokens as either was made for, and as much again for columns of rows that have left.
            room = max(target.tokens - length, other._buffer.tokens - other._length)
            self._spare.resize(most, int(GROWTH * (total + room)))
            target = self._spare
        if target is not self._buffer or columns:
            target.place(self._buffer, 0, columns, 0, length)
        target.place(other._buffer, before, others, 0, other._length)
        if target is not self._buffer:
            self._buffer, self._spare = self._spare, self._buffer
            self._spare.release()
        self._buffer.keep_rows(rows)
        self._length = total
        self._bound_to = None

    @property
    def is_whole(self) -> bool:
        """See :class:`Cache`."""
        return True

    def drop(self, columns: int, room: int | None = None) -> None:
        """See :class:`Cache`."""
        self._length -= columns
        if room is None or room >= self._buffer.tokens:
            self._buffer.place(self._buffer, 0, 0, columns, self._length)
            return
        self._spare.resize(self._buffer.rows, room)
        self._spare.place(self._buffer, 0, 0, columns, self._length)
        self._buffer, self._spare = self._spare, self._buffer
        self._spare.release()
        self._bound_to = None

    def count_blocks(self) -> int:
        """See :class:`Cache`."""
        return self._buffer.count_blocks()

    def read(self, start: int, length: int) -> KeyValues:
        """See :class:`Cache`."""
        return self._buffer.read(start, length)

    def load(self, states: Sequence[KeyValues], length: int) -> None:
        """See :class:`Cache`."""
        if length > self._buffer.tokens:
            self._buffer.resize(1, length)
        _write(self._buffer, states)
        self._length = length

    def place(self, other: Self, row: int, columns: int) -> None:
        """See :class:`Cache`."""
        self._length = columns + other._length
        if self._length > self._buffer.tokens:
            self._buffer.resize(self._buffer.rows, self._length)
        self._buffer.place(other._buffer, row, columns, 0, other._length)

    def crop(self, length: int) -> None:
        """See :class:`Cache`; the next run writes over what lies behind, and reads none of it."""
        self._length = length

    def _move(self, rows: NDArray[np.int64], tokens: int) -> None:
        """Go on in the second buffer, with these rows and room for so many tokens."""
        self._spare.resize(len(rows), tokens)
        self._spare.copy_rows(self._buffer, rows, self._length)
        self._buffer, self._spare = self._spare, self._buffer
        self._bound_to = None
        if self._buffer.in_place:
            self._spare.release()  # it will hardly be needed again


class SwappedBufferCache:
    """Two buffers by turns, for graphs that concatenate: the past is in one, the present goes to the other."""

    def __init__(self, past: KeyValueBuffer, present: KeyValueBuffer, rows: int, capacity: int) -> None:
        """Begin without tokens, with two empty buffers, for so many rows that are expected to get so many tokens."""
        self._past, self._present = past, present
        self._past.resize(rows, 0)
        self._capacity = capacity
        self._length = 0

    def bind(self, binding: Binding, total: int) -> None:
        """See :class:`Cache`."""
        if total > self._capacity:
            self._capacity = int(GROWTH * total)
        self._present.resize(self._past.rows, total, self._capacity)
        for name, tensor in self._past.tensors().items():
            binding.bind_input(name, tensor)
        for name, tensor in self._present.tensors().items():
            binding.bind_output(present_name(name), tensor)
        self._length = total
        self._past, self._present = self._present, self._past

    def clear(self) -> None:
        """See :class:`Cache`."""
        self._past.resize(self._past.rows, 0)
        self._length = 0

    def select(self, rows: NDArray[np.int64], common: NDArray[np.int64]) -> None:
        """See :class:`Cache`."""
        if len(rows) == self._past.rows and (common >= self._length).all():
            return
        if not self._past.move_rows(rows, common, self._length):
            self._present.resize(len(rows), self._length, self._capacity)
            self._present.copy_rows(self._past, rows, self._length)
            self._past, self._present = self._present, self._past

    def join(self, other: Self, columns: int, others: int) -> None:
        """See :class:`Cache`."""
        before, length = self._past.rows, self._length
        self._length = columns + length
        self._capacity = max(self._capacity, other._capacity, self._length)
        self._present.resize(before + other._past.rows, self._length, self._capacity)
        self._present.place(self._past, 0, columns, 0, length)
        self._present.place(other._past, before, others, 0, other._length)
        self._past, self._present = self._present, self._past

    @property
    def is_whole(self) -> bool:
        """See :class:`Cache`."""
        return True

    def drop(self, columns: int, room: int | None = None) -> None:
        """See :class:`Cache`."""
        self._length -= columns
        shrinks = room is not None and room < self._capacity
        if room is not None and shrinks:
            self._capacity = room
            self._present.release()
        self._present.resize(self._past.rows, self._length, self._capacity)
        self._present.place(self._past, 0, 0, columns, self._length)
        self._past, self._present = self._present, self._past
        if shrinks:
            self._present.release()

    def count_blocks(self) -> int:
        """See :class:`Cache`."""
        return self._past.count_blocks()

    def read(self, start: int, length: int) -> KeyValues:
        """See :class:`Cache`."""
        return self._past.read(start, length)

    def load(self, states: Sequence[KeyValues], length: int) -> None:
        """See :class:`Cache`."""
        self._past.resize(1, length, self._capacity)
        _write(self._past, states)
        self._length = length

    def place(self, other: Self, row: int, columns: int) -> None:
        """See :class:`Cache`."""
        self._length = columns + other._length
        if self._length != self._past.tokens:
            self._past.resize(self._past.rows, self._length, self._capacity)
        self._past.place(other._past, row, columns, 0, other._length)

    def crop(self, length: int) -> None:
        """See :class:`Cache`; what is left is copied, since a row's tokens lie head by head."""
        self._length = length
        self._present.resize(self._past.rows, length, self._capacity)
        self._present.place(self._past, 0, 0, 0, length)
        self._past, self._present = self._present, self._past


def _write(buffer: KeyValueBuffer, states: Sequence[KeyValues]) -> None:
    """Have a buffer's first row begin with these, part after part."""
    end = 0
    for part in states:
        end = buffer.write(part, end)


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

    def count_common(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many tokens each of `rows` has in common with the row whose index it is to get, int64[kept].

        Rows that come from different inputs have none in common, whatever their tokens.
        """
        result = np.zeros(len(rows), np.int64)
        both = min(len(rows), len(self.tokens))
        rows = rows[:both]
        differs = self.tokens[:both] != self.tokens[rows]
        length = self.tokens.shape[1]
        common = np.where(differs.any(axis=1), differs.argmax(axis=1), length) if length else np.zeros(both)
        result[:both] = np.where(self._source[:both] == self._source[rows], common, 0)
        return result

    def select(self, rows: NDArray[np.int64]) -> None:
        """Make the rows those of these indices."""
        self.tokens = self.tokens[rows]
        self._source = self._source[rows]

    def join(self, other: History) -> None:
        """Take the rows of another behind the own ones; they are of other inputs. What is shorter gets padding."""
        self.tokens = pad_and_stack(self.tokens, other.tokens, -1)
        self._source = np.concatenate([self._source, other._source + self._source.max() + 1])

    def drop(self, columns: int) -> None:
        """Forget the first columns."""
        self.tokens = self.tokens[:, columns:]

    def crop(self, length: int) -> None:
        """Forget all columns but the first ones."""
        self.tokens = self.tokens[:, :length]

    def count_padding(self) -> int:
        """How many of the first columns are padding in all rows."""
        return int((self.tokens >= 0).any(axis=0).argmax()) if self.tokens.size else 0


def pad_and_stack(first: NDArray[np.int64], second: NDArray[np.int64], padding: int) -> NDArray[np.int64]:
    """Two arrays of rows, int64[rows, length], as one; on the left of the shorter rows lies padding."""
    rows, length = len(first) + len(second), max(first.shape[1], second.shape[1])
    both = np.full((rows, length), padding)
    both[: len(first), length - first.shape[1] :] = first
    both[len(first) :, length - second.shape[1] :] = second
    return both


def layer_shapes(session: Session, origin: Path) -> dict[str, tuple[int, int, str]]:
    """Heads, width and dtype of each cache input, or state in its place, as the graph declares it.

    Warns where there is none.

    Raises:
        BundleError: the graph does not declare it as [batch, heads, length, width].
    """
    found, dtypes = {}, session.inputs | session.states
    for name, shape in (session.input_shapes | session.state_shapes).items():
        if not name.startswith(PAST):
            continue
        if len(shape) != 4 or not isinstance(shape[1], int) or not isinstance(shape[3], int):
            raise BundleError(f"{origin} declares {name} as {shape}, expected [batch, heads, length, width]")
        found[name] = (shape[1], shape[3], dtypes[name])
    if not found:
        warnings.warn(
            f"{origin} has no cache inputs (past_key_values): every step computes the whole text again, which is slow",
            stacklevel=5,
        )
    return found


def create_cache(shapes: LayerShapes, rows: int, capacity: int, *, shares: bool, device: Device) -> Cache | None:
    """The cache for a graph; None for one without, where every step computes all tokens again.

    Args:
        shapes: See :func:`layer_shapes`.
        rows: How many rows.
        capacity: How many tokens are expected.
        shares: Whether the graph may write its present into the buffer of its past.
        device: Where the graph computes.
    """
    if not shapes:
        return None
    create = HostBuffer if device.is_host else DeviceBuffer
    strategy = SharedBufferCache if shares else SwappedBufferCache
    return strategy(create(shapes, device), create(shapes, device), rows, capacity)
