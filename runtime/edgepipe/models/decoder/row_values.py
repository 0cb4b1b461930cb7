"""Values with a row for each sequence, in the host's memory or on a device."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe.backend.onnxruntime.device_memory import Place, View
from edgepipe.backend.onnxruntime.device_operators import moved_rows
from edgepipe.backend.onnxruntime.io_binding import value_over

if TYPE_CHECKING:
    from numpy.typing import NDArray

    RowValue = NDArray[Any] | View


def placed(array: NDArray[Any], place: Place) -> RowValue:
    """An array, [rows, ...], where a graph reads it."""
    if place.is_host:
        return array
    memory = place.holding(array) if array.size else place.empty((1,), array.dtype.name)
    return View(memory, place, array.shape, array.dtype.name)


def made(value: Any, place: Place, dtype: str) -> RowValue:
    """What a graph made: an ``OrtValue``, [rows, ...], of this dtype, in that place."""
    return value.numpy() if place.is_host else View(value, place, tuple(value.shape()), dtype)


def taken(value: RowValue, rows: NDArray[np.int64]) -> RowValue:
    """The rows of these indices, int64[kept]."""
    if not isinstance(value, View):
        return value[rows]
    shape = (len(rows), *value.shape[1:])
    memory = value.place.empty((max(1, math.prod(shape)),), value.dtype)
    found = View(memory, value.place, shape, value.dtype)
    if math.prod(shape):
        moved_rows(value.dtype, value.place).run({"block": _as_block(value), "rows": rows}, {"moved": _as_block(found)})
    return found


def bindable(value: RowValue) -> Any:
    """The value as a :class:`~edgepipe.backend.onnxruntime.io_binding.Binding` takes it for many runs."""
    return value if isinstance(value, View) else value_over(np.ascontiguousarray(value))


def _as_block(view: View) -> View:
    """The same memory as [1, rows, 1, 1, all of a row]."""
    rows = view.shape[0]
    return View(view.memory, view.place, (1, rows, 1, 1, math.prod(view.shape[1:])), view.dtype, view.start)
