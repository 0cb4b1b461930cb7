"""What differs from step to step: the inputs that are fed, and the logits that are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.device import Device, DeviceTensor
from edgepipe.backend.session import Binding, Session
from edgepipe.bundle.layout import LOGITS, LOGITS_TO_KEEP
from edgepipe.errors import BundleError
from edgepipe.models.graph_outputs import check_output


class StepInput:
    """An input of integers, in a buffer that is bound once while its shape stays the same.

    A device gets a copy of the buffer when that is bound, so there it is bound at every step.
    """

    def __init__(self, binding: Binding, name: str, dtype: str, device: Device) -> None:
        """Begin without a buffer, for an input of this name and dtype in the binding of a graph on `device`."""
        self._binding = binding
        self._name = name
        self._dtype = dtype
        self._device = device
        self._buffer: NDArray[Any] | None = None

    def write(self, numbers: NDArray[np.int64]) -> None:
        """Have the next run read these."""
        if self._device.is_host and self._buffer is not None and self._buffer.shape == numbers.shape:
            self._buffer[...] = numbers
        else:
            self._buffer = numbers.astype(self._dtype, order="C")
            self._binding.bind_input(self._name, self._device.wrap(self._buffer))


class Logits:
    """The logits of the last token of each row, or of every token.

    They are written into one buffer for all steps, where the graph gives those of the last token alone. On a device
    they stay there while only the best tokens are asked for.

    Attributes:
        every: Whether they are those of every token.
    """

    def __init__(self, session: Session, binding: Binding, *, every: bool = False) -> None:
        self._binding = binding
        self._device = session.device
        inputs = session.inputs | session.optional_inputs
        shape = session.output_shapes.get(LOGITS, ())
        if len(shape) != 3 or session.output_dtypes[LOGITS] not in ("float32", "float16", "float64"):
            given = ", ".join(f"{name} {list(shape)}" for name, shape in session.output_shapes.items())
            raise BundleError(
                f"the graph declares the outputs {given:.200}, and no logits [batch, tokens, vocabulary] of "
                "floating-point numbers: it is for another task, or damaged; export the checkpoint for this task"
            )
        vocabulary = shape[-1]
        self._vocabulary = vocabulary if isinstance(vocabulary, int) else None
        self._dtype = session.output_dtypes[LOGITS]
        self._rows = 0
        self._tensor: DeviceTensor | None = None  # None: allocated at every run
        self._buffer: NDArray[np.float32] | None = None  # the array under it, in the host's memory
        self._keep_dtype = inputs.get(LOGITS_TO_KEEP)
        self.give_every(every)

    def give_every(self, every: bool) -> None:
        """Have the next runs give the logits of every new token, or of the last one of each row."""
        self.every = every
        if self._keep_dtype is not None:
            # A tensor of the engine's: an optional input cannot be bound to an array.
            self._binding.bind_input(LOGITS_TO_KEEP, self._device.wrap(np.array(int(not every), self._keep_dtype)))

    def bind(self, rows: int, new: int, *, on_device: bool) -> None:
        """Bind the output for a run.

        Args:
            rows: How many rows.
            new: How many tokens are new.
            on_device: Whether the logits are read by :meth:`argmax` or :meth:`top_k`, not by :meth:`read`.
        """
        if self._vocabulary is None or self.every or (self._keep_dtype is None and new > 1):
            self._tensor = self._buffer = None
            self._binding.bind_output(LOGITS, None, self._device if on_device else None)
        elif self._tensor is None or self._rows != rows or on_device is (self._buffer is not None):
            shape, self._rows = (rows, 1, self._vocabulary), rows
            if on_device:
                self._tensor, self._buffer = self._device.empty(shape, self._dtype), None
            else:
                self._buffer = np.empty(shape, np.float32)
                self._tensor = self._device.wrap(self._buffer)
            self._binding.bind_output(LOGITS, self._tensor)

    def read(self, outputs: Mapping[str, DeviceTensor]) -> NDArray[np.float32]:
        """float32[rows, vocabulary], or [rows, tokens, vocabulary] for every token, from the outputs of the run."""
        if self._buffer is not None:
            return self._buffer[:, -1]
        logits: NDArray[np.float32] = outputs[LOGITS].numpy().astype(np.float32, copy=False)
        check_output({LOGITS: logits}, LOGITS, (None, None, None))
        return logits if self.every else logits[:, -1]

    def argmax(self, outputs: Mapping[str, DeviceTensor]) -> NDArray[np.int64]:
        """The best token of each row, int64[rows]; nothing else leaves the device."""
        return self._device.argmax(self._on_device(outputs), self._dtype)[:, -1]

    def top_k(self, outputs: Mapping[str, DeviceTensor], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The best tokens of each row, best first: log-probabilities and tokens, [rows, count] each."""
        most = count if self._vocabulary is None else min(count, self._vocabulary)
        logarithms, tokens = self._device.top_k(self._on_device(outputs), self._dtype, most)
        return logarithms[:, -1], tokens[:, -1]

    def _on_device(self, outputs: Mapping[str, DeviceTensor]) -> DeviceTensor:
        return outputs[LOGITS] if self._tensor is None else self._tensor
