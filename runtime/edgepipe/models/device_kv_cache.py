"""Keys and values on a device: the caches of :mod:`edgepipe.models.kv_cache`, where numpy cannot move rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe.backend.onnxruntime.device_memory import Place, View
from edgepipe.backend.onnxruntime.device_operators import moved_rows, roomier_rows
from edgepipe.models.kv_cache import GROWTH, present_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.backend.onnxruntime.io_binding import Binding
    from edgepipe.models.kv_cache import Shapes


class _Blocks:
    """Memory for keys and values: of all of one shape in one, [tensors, rows, heads, tokens, width].

    Attributes:
        memories: The ``OrtValue`` of each, of one dimension; none before there is :meth:`room`.
    """

    def __init__(self, shapes: Shapes, place: Place) -> None:
        self._place = place
        self._names: dict[tuple[int, int, str], list[str]] = {}
        for name, shape in shapes.items():
            self._names.setdefault(shape, []).append(name)
        self.memories: list[Any] = []
        self._sizes: list[int] = []

    def room(self, rows: int, tokens: int, roomy: int) -> None:
        """Make sure that so many rows of so many tokens have room; what they held is lost where they had none.

        Args:
            rows: How many rows.
            tokens: How many tokens of each.
            roomy: For how many tokens room is made, if any is.
        """
        if self.memories and all(
            size >= need for size, need in zip(self._sizes, self._needs(rows, tokens), strict=True)
        ):
            return
        self._sizes = self._needs(rows, max(tokens, roomy))
        self.memories = [
            self._place.empty([size], dtype) for size, (_, _, dtype) in zip(self._sizes, self._names, strict=True)
        ]

    def named(self, rows: int, tokens: int) -> Iterator[tuple[str, View]]:
        """Each input's name with its part of the memory, [rows, heads, tokens, width]."""
        for view, names in zip(self.whole(rows, tokens), self._names.values(), strict=True):
            shape = view.shape[1:]
            for index, name in enumerate(names):
                yield name, View(view.memory, view.place, shape, view.dtype, index * math.prod(shape))

    def whole(self, rows: int, tokens: int) -> Iterator[View]:
        """The blocks, [tensors, rows, heads, tokens, width] each."""
        for memory, ((heads, width, dtype), names) in zip(self.memories, self._names.items(), strict=True):
            yield View(memory, self._place, (len(names), rows, heads, tokens, width), dtype)

    def take(self, source: _Blocks, rows: NDArray[np.int64], shape: tuple[int, int]) -> None:
        """Take over rows of another's.

        Args:
            source: The other.
            rows: int64[kept], the former row for each place.
            shape: How many rows and tokens the other has.
        """
        for block, new in zip(source.whole(*shape), self.whole(len(rows), shape[1]), strict=True):
            if math.prod(new.shape):
                moved_rows(new.dtype, self._place).run({"block": block, "rows": rows}, {"moved": new})

    def take_with_room(self, source: _Blocks, rows: NDArray[np.int64], shape: tuple[int, int], tokens: int) -> None:
        """As :meth:`take`, with room for more `tokens`, so many in all, after those of each row."""
        for block, new in zip(source.whole(*shape), self.whole(len(rows), tokens), strict=True):
            each, count, heads, _, width = new.shape
            room = self._place.empty((each, count, heads, tokens - shape[1], width), new.dtype)
            feeds = {"block": block, "rows": rows, "room": room}
            roomier_rows(new.dtype, self._place).run(feeds, {"moved": new})

    def _needs(self, rows: int, tokens: int) -> list[int]:
        """Elements of each block, one at least: of no memory there is no address."""
        return [max(1, math.prod(view)) for view in self._block_shapes(rows, tokens)]

    def _block_shapes(self, rows: int, tokens: int) -> Iterator[tuple[int, ...]]:
        for (heads, width, _), names in self._names.items():
            yield len(names), rows, heads, tokens, width


class SharedDeviceCache:
    """As :class:`~edgepipe.models.kv_cache.SharedCache`. Where rows move, they go to a second memory."""

    def __init__(self, shapes: Shapes, rows: int, capacity: int, place: Place) -> None:
        """Make buffers for so many rows of so many tokens."""
        self._rows = rows
        self._capacity = max(1, capacity)
        self._length = 0
        self._now, self._spare = _Blocks(shapes, place), _Blocks(shapes, place)
        self._now.room(rows, self._capacity, 0)
        self._bound_to: Binding | None = None

    def bind(self, binding: Binding, total: int) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        if total > self._capacity:
            larger = max(total, int(GROWTH * self._capacity))
            self._spare.room(self._rows, larger, 0)
            self._spare.take_with_room(self._now, np.arange(self._rows), (self._rows, self._capacity), larger)
            self._capacity = larger
            self._turn()
        if self._bound_to is not binding:
            for name, view in self._now.named(self._rows, self._capacity):
                binding.feed(name, view)
                binding.give(present_name(name), view)
            self._bound_to = binding
        self._length = total

    def select(self, rows: NDArray[np.int64], agreeing: NDArray[np.int64]) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        if len(rows) == self._rows and (agreeing >= self._length).all():
            return
        self._spare.room(len(rows), self._capacity, 0)
        self._spare.take(self._now, rows, (self._rows, self._capacity))
        self._rows = len(rows)
        self._turn()

    def _turn(self) -> None:
        self._now, self._spare = self._spare, self._now
        self._bound_to = None


class SwappedDeviceCache:
    """As :class:`~edgepipe.models.kv_cache.SwappedCache`."""

    def __init__(self, shapes: Shapes, rows: int, capacity: int, place: Place) -> None:
        """Begin without tokens, so many rows that are expected to get so many."""
        self._rows = rows
        self._capacity = capacity
        self._length = 0
        self._now, self._next = _Blocks(shapes, place), _Blocks(shapes, place)
        self._now.room(rows, 0, 0)

    def bind(self, binding: Binding, total: int) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        if total > self._capacity:
            self._capacity = int(GROWTH * total)
        self._next.room(self._rows, total, self._capacity)
        for name, view in self._now.named(self._rows, self._length):
            binding.feed(name, view)
        for name, view in self._next.named(self._rows, total):
            binding.give(present_name(name), view)
        self._length = total
        self._now, self._next = self._next, self._now

    def select(self, rows: NDArray[np.int64], agreeing: NDArray[np.int64]) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        if len(rows) == self._rows and (agreeing >= self._length).all():
            return
        self._next.room(len(rows), self._length, self._capacity)
        self._next.take(self._now, rows, (self._rows, self._length))
        self._rows = len(rows)
        self._now, self._next = self._next, self._now
