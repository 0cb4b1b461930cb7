"""Where a step's scores are written: one buffer for all steps, where the graph gives those of the last token alone.

On a device they stay where they are while only the best tokens are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe.backend.onnxruntime.device_memory import fetched
from edgepipe.backend.onnxruntime.device_operators import best_tokens, likeliest_tokens
from edgepipe.backend.onnxruntime.io_binding import value_over

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.backend.onnxruntime.io_binding import Binding
    from edgepipe.backend.onnxruntime.session import Session

_NAME = "logits"
_KEEP = "num_logits_to_keep"


class Logits:
    """The scores of what follows the last token of each row, or every token."""

    def __init__(self, session: Session, binding: Binding, *, every: bool = False) -> None:
        self._binding = binding
        self._place = session.place
        self._every = every
        inputs = session.inputs | session.optional_inputs
        self._keeps = _KEEP in inputs
        vocabulary = session.output_shapes[_NAME][-1]
        self._vocabulary = vocabulary if isinstance(vocabulary, int) and not every else None
        self._buffer: NDArray[np.float32] | None = None
        self._dtype = session.output_dtypes[_NAME]
        self._value: Any = None
        if self._keeps:
            # A value of onnxruntime's: an optional input cannot be bound to an array.
            binding.feed(_KEEP, value_over(np.array(0 if every else 1, dtype=inputs[_KEEP])))

    def bind(self, rows: int, new: int) -> None:
        """Name the output for a run of so many rows and new tokens."""
        self._value = None
        if self._vocabulary is None or not (self._keeps or new == 1):
            self._buffer = None
            self._binding.give(_NAME)
        elif self._buffer is None or len(self._buffer) != rows:
            self._buffer = np.empty((rows, 1, self._vocabulary), np.float32)
            self._binding.give(_NAME, value_over(self._buffer))

    def bind_on_device(self, rows: int, new: int) -> None:
        """As :meth:`bind`, for :meth:`likeliest` and :meth:`best`."""
        self._buffer = None
        if self._vocabulary is None or not (self._keeps or new == 1):
            self._value = None
            self._binding.give(_NAME, None, self._place)
        elif self._value is None or self._value.shape()[0] != rows:
            self._value = self._place.empty((rows, 1, self._vocabulary), self._dtype)
            self._binding.give(_NAME, self._value)

    def likeliest(self, outputs: Mapping[str, Any]) -> NDArray[np.int64]:
        """The token with the best score of each row, int64[rows]: all that leaves the device."""
        feeds = {"scores": outputs[_NAME] if self._value is None else self._value}
        found = likeliest_tokens(self._dtype, self._place).run(feeds, {"tokens": None})
        return fetched(found["tokens"])[:, -1]

    def best(self, outputs: Mapping[str, Any], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As :meth:`likeliest`, the best tokens of each row, best first: log-probabilities and tokens [rows, count]."""
        most = count if self._vocabulary is None else min(count, self._vocabulary)
        feeds = {"scores": outputs[_NAME] if self._value is None else self._value, "count": np.array([most])}
        found = best_tokens(self._dtype, self._place).run(feeds, {"logarithms": None, "tokens": None})
        return fetched(found["logarithms"])[:, -1], fetched(found["tokens"])[:, -1]

    def read(self, outputs: Mapping[str, Any]) -> NDArray[np.float32]:
        """float32[rows, vocabulary], or [rows, tokens, vocabulary] for every token, from what the run gave."""
        if self._buffer is not None:
            return self._buffer[:, -1]
        scores: NDArray[np.float32] = outputs[_NAME].numpy().astype(np.float32, copy=False)
        return scores if self._every else scores[:, -1]
