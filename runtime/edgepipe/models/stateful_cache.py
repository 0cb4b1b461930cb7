"""A cache whose keys and values the engine keeps between runs, in states that the graph appends to.

Nothing of them is copied from step to step, and rows that move are indices. What needs more (rows that join, tokens
that are taken back, a prefix that was cached) is done in the host's memory: the states are read, changed there, and
written again before the next run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.device import Device
from edgepipe.backend.session import Binding, StatefulBinding
from edgepipe.models.kv_buffers import HostBuffer, KeyValues, LayerShapes


class StatefulCache:
    """See the module; a :class:`~edgepipe.models.kv_cache.Cache`."""

    def __init__(self, shapes: LayerShapes, rows: int, device: Device) -> None:
        """Begin without tokens.

        Args:
            shapes: See :func:`~edgepipe.models.kv_cache.layer_shapes`.
            rows: How many rows.
            device: The host.
        """
        self._shapes, self._device = shapes, device
        self._length = 0
        # Which of the rows below each row is.
        self._rows = np.arange(rows)
        # What the states are to become before the next run; None where they are what they should be.
        self._changed: HostBuffer | None = HostBuffer(shapes, device)
        self._binding: StatefulBinding | None = None

    @property
    def is_whole(self) -> bool:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        return True

    def bind(self, binding: Binding, total: int) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`; all runs are of one binding."""
        states = cast("StatefulBinding", binding)
        assert self._binding in (None, states), "states are not moved from one binding to another"
        self._binding = states
        if self._changed is not None:
            if self._length:
                states.write_states({name: tensor.numpy() for name, tensor in self._changed.tensors().items()})
            else:
                states.clear_states()
            self._changed = None
        states.choose_rows(self._rows)
        self._rows = np.arange(len(self._rows))
        self._length = total

    def clear(self) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        self._change(HostBuffer(self._shapes, self._device), len(self._rows), 0)

    def select(self, rows: NDArray[np.int64], common: NDArray[np.int64]) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        self._rows = self._rows[rows] if self._length else np.arange(len(rows))

    def join(self, other: Self, columns: int, others: int) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        own, its = self._copy(), other._copy()
        rows, length = len(self._rows), columns + self._length
        joined = self._empty(rows + len(other._rows), length)
        joined.place(own, 0, columns, 0, self._length)
        joined.place(its, rows, others, 0, other._length)
        self._change(joined, joined.rows, length)

    def drop(self, columns: int, room: int | None = None) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`; states take as much memory as they need."""
        self._keep(columns, self._length - columns)

    def count_blocks(self) -> int:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        return HostBuffer(self._shapes, self._device).count_blocks()

    def read(self, start: int, length: int) -> KeyValues:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        return self._copy(1).read(start, length)

    def load(self, states: Sequence[KeyValues], length: int) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        loaded, end = self._empty(1, length), 0
        for part in states:
            end = loaded.write(part, end)
        self._change(loaded, 1, length)

    def place(self, other: Self, row: int, columns: int) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        length = columns + other._length
        if self._changed is None or self._changed.tokens != length or self._changed.rows != len(self._rows):
            self._change(self._empty(len(self._rows), length), len(self._rows), length)
        assert self._changed is not None
        self._changed.place(other._copy(), row, columns, 0, other._length)

    def crop(self, length: int) -> None:
        """See :class:`~edgepipe.models.kv_cache.Cache`."""
        self._keep(0, length)

    def _keep(self, start: int, length: int) -> None:
        """Forget all tokens but so many from one on."""
        kept = self._empty(len(self._rows), length)
        kept.place(self._copy(), 0, 0, start, length)
        self._change(kept, kept.rows, length)

    def _change(self, changed: HostBuffer, rows: int, length: int) -> None:
        self._changed, self._rows, self._length = changed, np.arange(rows), length

    def _empty(self, rows: int, tokens: int) -> HostBuffer:
        buffer = HostBuffer(self._shapes, self._device)
        buffer.resize(rows, tokens)
        return buffer

    def _copy(self, rows: int | None = None) -> HostBuffer:
        """The first of the rows, or all of them, in the host's memory."""
        chosen = self._rows[:rows]
        copied = self._empty(len(chosen), self._length)
        if self._length:
            if self._changed is None:
                assert self._binding is not None
                found = self._binding.read_states()
            else:
                found = {name: tensor.numpy() for name, tensor in self._changed.tensors().items()}
            for name, tensor in copied.tensors().items():
                np.take(found[name], chosen, axis=0, out=tensor.numpy(), mode="clip")
        return copied
