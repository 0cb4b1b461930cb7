"""Memory for keys and values: the host's, where numpy moves rows in place, or a device's, where operators copy them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.device import Device, DeviceTensor, TensorView

# Heads, width and dtype of each cache input of a graph.
LayerShapes = Mapping[str, tuple[int, int, str]]
# Keys and values of some tokens of one row: for each block of a buffer an array [tensors, heads, tokens, width].
KeyValues = list[NDArray[Any]]


class KeyValueBuffer(ABC):
    """Keys and values of some rows: for each cache input of a graph a tensor [rows, heads, tokens, width].

    Tensors of one shape lie in one block, [tensors, rows, heads, tokens, width], so that moving rows takes one
    operation.

    Attributes:
        in_place: Whether rows can be moved without other memory.
        rows: How many rows the tensors have.
        tokens: How many tokens each row has.
    """

    in_place: bool
    _memories: list[Any]
    _blocks: list[Any]

    def __init__(self, shapes: LayerShapes, device: Device) -> None:
        """Begin without memory."""
        self._device = device
        self._names: dict[tuple[int, int, str], list[str]] = {}
        for name, shape in shapes.items():
            self._names.setdefault(shape, []).append(name)
        self.release()

    def release(self) -> None:
        """Give the memory back."""
        self._memories, self._blocks = [], []
        self._sizes: list[int] = []
        self._tensors: dict[str, Any] | None = None
        self.rows = self.tokens = 0

    @property
    def most_rows(self) -> int:
        """For how many rows there is memory."""
        return int(self._blocks[0].shape[1]) if self._blocks else 0

    def count_blocks(self) -> int:
        """How many arrays :meth:`read` gives."""
        return len(self._names)

    def resize(self, rows: int, tokens: int, capacity: int = 0) -> None:
        """Have room for so many rows of so many tokens; what they hold is undefined.

        Args:
            rows: How many rows.
            tokens: How many tokens of each.
            capacity: For how many tokens memory is allocated, if it has to be.
        """
        needed = self._count_elements(rows, tokens)
        if not self._sizes or any(size < need for size, need in zip(self._sizes, needed, strict=True)):
            self.release()
            self._sizes = self._count_elements(rows, max(tokens, capacity))
            self._memories = [self._empty(size, shape[2]) for size, shape in zip(self._sizes, self._names, strict=True)]
        self.rows, self.tokens, self._tensors = rows, tokens, None
        self._blocks = [
            self._view(memory, dtype, (len(names), rows, heads, tokens, width))
            for memory, ((heads, width, dtype), names) in zip(self._memories, self._names.items(), strict=True)
        ]

    def tensors(self) -> Mapping[str, Any]:
        """What a binding takes for each input."""
        if self._tensors is None:  # kept, because making them takes longer than binding them
            self._tensors = {
                name: self._tensor(block, index)
                for block, names in zip(self._blocks, self._names.values(), strict=True)
                for index, name in enumerate(names)
            }
        return self._tensors

    @abstractmethod
    def move_rows(self, rows: NDArray[np.int64], common: NDArray[np.int64], length: int) -> bool:
        """Make the rows those of these indices, in place; see :meth:`~edgepipe.models.kv_cache.Cache.select`.

        Returns:
            False where there is no room; then nothing was moved.
        """

    @abstractmethod
    def copy_rows(self, source: Self, rows: NDArray[np.int64], length: int) -> None:
        """Copy the first `length` tokens of these rows of another buffer, whose rows have at most as many tokens."""

    @abstractmethod
    def place(self, source: Self, row: int, column: int, start: int, length: int) -> None:
        """Copy all rows of a buffer, of each `length` tokens from `start` on, and have nothing before them but zeros.

        Zeros, because what is masked is still multiplied by 0, and memory that was never written may hold NaN.

        Args:
            source: The buffer; it may be this one.
            row: Where its first row goes; there is room for them all.
            column: Where the first of the tokens goes.
            start: The first token that is copied.
            length: How many tokens.

        Raises:
            NotImplementedError: the memory is a device's.
        """

    def keep_rows(self, rows: int) -> None:
        """Have so many rows, of those that there is memory for; what new ones hold is undefined.

        Raises:
            NotImplementedError: the memory is a device's.
        """
        raise NotImplementedError

    def read(self, start: int, length: int) -> KeyValues:
        """Copies of what the first row holds of `length` tokens, from `start` on.

        Raises:
            NotImplementedError: the memory is a device's.
        """
        raise NotImplementedError

    def write(self, states: KeyValues, start: int) -> int:
        """Have the first row hold these from the token `start` on; returns where they end.

        Raises:
            NotImplementedError: the memory is a device's.
        """
        raise NotImplementedError

    @abstractmethod
    def _empty(self, size: int, dtype: str) -> Any:
        """Memory for so many elements."""

    @abstractmethod
    def _view(self, memory: Any, dtype: str, shape: tuple[int, ...]) -> Any:
        """A block of this shape at the beginning of a memory."""

    @abstractmethod
    def _tensor(self, block: Any, index: int) -> Any:
        """A tensor of a block, as a binding takes it."""

    def _count_elements(self, rows: int, tokens: int) -> list[int]:
        """Elements of each block; one at least, for an empty memory has no address on a device."""
        return [max(1, len(names) * rows * heads * tokens * width) for (heads, width, _), names in self._names.items()]


class HostBuffer(KeyValueBuffer):
    """A buffer of numpy arrays."""

    in_place = True
    _blocks: list[NDArray[Any]]

    def move_rows(self, rows: NDArray[np.int64], common: NDArray[np.int64], length: int) -> bool:
        """See :class:`KeyValueBuffer`; only tokens that differ are copied."""
        if len(rows) > self.most_rows:
            return False
        changed = np.flatnonzero(common < length)
        if len(changed):
            tokens = slice(int(common[changed].min()), length)
            for block in self._blocks:
                # The right side is a copy, so that a row may be read and written.
                block[:, changed, :, tokens] = block[:, rows[changed], :, tokens]
        self.keep_rows(len(rows))
        return True

    def copy_rows(self, source: Self, rows: NDArray[np.int64], length: int) -> None:
        """See :class:`KeyValueBuffer`."""
        for old, new in zip(source._blocks, self._blocks, strict=True):
            new[:, :, :, :length] = old[:, rows, :, :length]

    def place(self, source: Self, row: int, column: int, start: int, length: int) -> None:
        """See :class:`KeyValueBuffer`."""
        rows = slice(row, row + source.rows)
        for old, new in zip(source._blocks, self._blocks, strict=True):
            # Within one buffer numpy copies first what it would write over.
            new[:, rows, :, column : column + length] = old[:, : source.rows, :, start : start + length]
            new[:, rows, :, :column] = 0

    def keep_rows(self, rows: int) -> None:
        """See :class:`KeyValueBuffer`."""
        if rows != self.rows:
            self.rows, self._tensors = rows, None

    def read(self, start: int, length: int) -> KeyValues:
        """See :class:`KeyValueBuffer`."""
        return [block[:, 0, :, start : start + length].copy() for block in self._blocks]

    def write(self, states: KeyValues, start: int) -> int:
        """See :class:`KeyValueBuffer`."""
        end = start + int(states[0].shape[2])
        for block, array in zip(self._blocks, states, strict=True):
            block[:, 0, :, start:end] = array
        return end

    def _empty(self, size: int, dtype: str) -> NDArray[Any]:
        return np.empty(size, dtype)

    def _view(self, memory: NDArray[Any], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        return memory[: math.prod(shape)].reshape(shape)

    def _tensor(self, block: NDArray[Any], index: int) -> DeviceTensor:
        return self._device.wrap(block[index, : self.rows])


class DeviceBuffer(KeyValueBuffer):
    """A buffer in a device's memory, where rows are moved by copying all of them."""

    in_place = False
    _blocks: list[TensorView]

    def move_rows(self, rows: NDArray[np.int64], common: NDArray[np.int64], length: int) -> bool:
        """See :class:`KeyValueBuffer`."""
        return False

    def copy_rows(self, source: Self, rows: NDArray[np.int64], length: int) -> None:
        """See :class:`KeyValueBuffer`; tokens behind `length` are copied too."""
        for old, new in zip(source._blocks, self._blocks, strict=True):
            if math.prod(new.shape):
                self._device.gather_rows(old, rows, new)

    def place(self, source: Self, row: int, column: int, start: int, length: int) -> None:
        """See :class:`KeyValueBuffer`; not there."""
        raise NotImplementedError

    def _empty(self, size: int, dtype: str) -> DeviceTensor:
        return self._device.empty([size], dtype)

    def _view(self, memory: DeviceTensor, dtype: str, shape: tuple[int, ...]) -> TensorView:
        return TensorView(memory, self._device, shape, dtype)

    def _tensor(self, block: TensorView, index: int) -> TensorView:
        shape = block.shape[1:]
        return TensorView(block.memory, block.device, shape, block.dtype, index * math.prod(shape))
