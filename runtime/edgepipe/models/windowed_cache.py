"""A cache whose layers are of two kinds: some see all tokens, and some the last ones alone, and forget the others.

What a layer with a window keeps is its last tokens, and some before them. These are there for two reasons. They are
forgotten many at once, since forgetting moves all others. And lookahead takes tokens back, so that a window begins
earlier again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.device import Device
from edgepipe.backend.session import Binding
from edgepipe.models.kv_buffers import KeyValues, LayerShapes
from edgepipe.models.kv_cache import Cache, create_cache

# How many tokens before its window a layer keeps at least, and how many are forgotten at once. No lookahead takes more
# back: an assistant writes 256 ahead at most.
SPARE = 260


def count_room(window: int, prompt: int) -> int:
    """For how many tokens layers with a window have memory, behind a prompt of so many."""
    return max(prompt, window + 2 * SPARE)


class WindowedCache:
    """See the module; in the host's memory.

    Attributes:
        held: How many tokens the layers with a window had before the run that was bound last.
    """

    def __init__(self, whole: Cache | None, windowed: Cache, window: int) -> None:
        """Begin without tokens.

        Args:
            whole: The cache of the layers that see all; None where all have a window.
            windowed: That of the others.
            window: How many tokens these see, the new one among them.
        """
        self._whole, self._windowed, self._window = whole, windowed, window
        self._length = self._dropped = self.held = 0

    @property
    def is_whole(self) -> bool:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        return not self._dropped

    def bind(self, binding: Binding, total: int) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`.

        Tokens are forgotten only before a single new one: a prompt that is read in parts may be held as a whole.
        """
        self.held = self._length - self._dropped
        kept = self._window - 1 + SPARE
        if total == self._length + 1 and self.held >= kept + SPARE:
            self._windowed.drop(self.held - kept, count_room(self._window, 0))
            self._dropped, self.held = self._length - kept, kept
        if self._whole is not None:
            self._whole.bind(binding, total)
        self._windowed.bind(binding, total - self._dropped)
        self._length = total

    def clear(self) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        for each in self._parts():
            each.clear()
        self._length = self._dropped = 0

    def select(self, rows: NDArray[np.int64], common: NDArray[np.int64]) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        if self._whole is not None:
            self._whole.select(rows, common)
        self._windowed.select(rows, np.maximum(common - self._dropped, 0))

    def join(self, other: WindowedCache, columns: int, others: int) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`.

        Columns before what one of them has kept are no padding, but no window reaches them.
        """
        own, its = self._length - self._dropped, other._length - other._dropped
        held = max(own, its)
        if self._whole is not None and other._whole is not None:
            self._whole.join(other._whole, columns, others)
        self._windowed.join(other._windowed, held - own, held - its)
        self._length += columns
        self._dropped = self._length - held

    def drop(self, columns: int, room: int | None = None) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        if self._whole is not None:
            self._whole.drop(columns, room)
        if columns > self._dropped:
            self._windowed.drop(columns - self._dropped)
        self._length -= columns
        self._dropped = max(0, self._dropped - columns)

    def read(self, start: int, length: int) -> KeyValues:
        """See :class:`~edgepipe.models.kv_cache.Cache`; only of a cache that is whole."""
        return [array for each in self._parts() for array in each.read(start, length)]

    def load(self, states: Sequence[KeyValues], length: int) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        count = 0
        for each in self._parts():
            blocks = each.count_blocks()
            each.load([part[count : count + blocks] for part in states], length)
            count += blocks
        self._length, self._dropped = length, 0

    def place(self, other: WindowedCache, row: int, columns: int) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`; no window reaches what the other one forgot."""
        if self._whole is not None and other._whole is not None:
            self._whole.place(other._whole, row, columns)
        self._windowed.place(other._windowed, row, columns + other._dropped)
        self._length, self._dropped = columns + other._length, 0

    def crop(self, length: int) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`; no more than what is kept before the window is taken back."""
        held = length - self._dropped
        assert held >= min(length, self._window - 1), "a window reaches tokens that are forgotten"
        if self._whole is not None:
            self._whole.crop(length)
        self._windowed.crop(held)
        self._length = length

    def count_blocks(self) -> int:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        return sum(each.count_blocks() for each in self._parts())

    def _parts(self) -> list[Cache]:
        return [self._windowed] if self._whole is None else [self._whole, self._windowed]


def create_windowed_cache(
    shapes: LayerShapes,
    windowed: LayerShapes,
    window: int,
    rows: int,
    capacity: int,
    prompt: int,
    *,
    shares: bool,
    device: Device,
) -> WindowedCache:
    """The cache for a graph whose layers see a window, or some of them; see :func:`create_cache`.

    Args:
        shapes: The inputs of the layers that see all tokens.
        windowed: Those of the others.
        window: How many tokens these see.
        rows: How many rows.
        capacity: How many tokens are expected.
        prompt: How many are read at first.
        shares: Whether the graph may write its present into the buffer of its past.
        device: The host.
    """
    room = min(capacity, count_room(window, prompt))
    whole = create_cache(shapes, rows, capacity, shares=shares, device=device)
    last = create_cache(windowed, rows, room, shares=shares, device=device)
    assert last is not None
    return WindowedCache(whole, last, window)
