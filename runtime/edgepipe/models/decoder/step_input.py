"""An input that is another at every step, in a buffer that is bound once while its shape stays the same.

A device gets a copy of what the buffer holds when it is bound, so there it is bound at every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe.backend.onnxruntime.io_binding import value_over

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.backend.onnxruntime.device_memory import Place
    from edgepipe.backend.onnxruntime.io_binding import Binding


class StepInput:
    """An input of a graph of integers, written in place."""

    def __init__(self, binding: Binding, name: str, dtype: str, place: Place) -> None:
        """Begin without a buffer.

        Args:
            binding: Where the input is fed.
            name: The input's.
            dtype: The numpy name of its declared type.
            place: Where the graph computes.
        """
        self._binding = binding
        self._name = name
        self._dtype = dtype
        self._stays = place.is_host
        self._buffer: NDArray[Any] | None = None

    def write(self, numbers: NDArray[np.int64]) -> None:
        """Have the next run read these."""
        if self._stays and self._buffer is not None and self._buffer.shape == numbers.shape:
            self._buffer[...] = numbers
        else:
            self._buffer = numbers.astype(self._dtype, order="C")
            self._binding.feed(self._name, value_over(self._buffer))
