"""Numpy arrays as tensors of an engine, and runs whose inputs and outputs stay bound to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.device import Device, DeviceTensor, TensorView
from edgepipe.numerics import log_softmax

Arrays = Mapping[str, NDArray[Any]]


class ArrayTensor:
    """An array as a :class:`~edgepipe.backend.device.DeviceTensor`."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array

    def shape(self) -> Sequence[int]:
        """See :class:`~edgepipe.backend.device.DeviceTensor`."""
        return list(self._array.shape)

    def numpy(self) -> NDArray[Any]:
        """See :class:`~edgepipe.backend.device.DeviceTensor`."""
        return self._array

    def update_inplace(self, array: NDArray[Any], /) -> None:
        """See :class:`~edgepipe.backend.device.DeviceTensor`."""
        self._array[...] = array

    def data_ptr(self) -> int:
        """See :class:`~edgepipe.backend.device.DeviceTensor`."""
        return int(self._array.ctypes.data)


class ArrayDevice(Device):
    """The host's memory; see :class:`~edgepipe.backend.device.Device`."""

    def empty(self, shape: Sequence[int], dtype: str) -> DeviceTensor:
        """See :class:`~edgepipe.backend.device.Device`."""
        return ArrayTensor(np.empty(tuple(shape), dtype))

    def copy(self, array: NDArray[Any]) -> DeviceTensor:
        """See :class:`~edgepipe.backend.device.Device`."""
        return ArrayTensor(array.copy())

    def wrap(self, array: NDArray[Any]) -> DeviceTensor:
        """See :class:`~edgepipe.backend.device.Device`."""
        return ArrayTensor(array)

    def fetch(self, tensor: DeviceTensor) -> NDArray[Any]:
        """See :class:`~edgepipe.backend.device.Device`."""
        return tensor.numpy().copy()

    def gather_rows(self, source: TensorView, rows: NDArray[np.int64], target: TensorView) -> None:
        """See :class:`~edgepipe.backend.device.Device`."""
        taken = _as_array(source)[:, rows]
        _as_array(target)[:, :, :, : taken.shape[3]] = taken

    def argmax(self, scores: DeviceTensor, dtype: str) -> NDArray[np.int64]:
        """See :class:`~edgepipe.backend.device.Device`."""
        best: NDArray[np.int64] = scores.numpy().argmax(axis=-1)
        return best

    def top_k(self, scores: DeviceTensor, dtype: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """See :class:`~edgepipe.backend.device.Device`."""
        logits = scores.numpy()
        logarithms = log_softmax(logits.astype(np.float32).reshape(-1, logits.shape[-1])).reshape(logits.shape)
        best = np.argsort(-logarithms, axis=-1, kind="stable")[..., :count]
        return np.take_along_axis(logarithms, best, axis=-1), best


HOST = ArrayDevice()


class ArrayBinding:
    """A :class:`~edgepipe.backend.session.Binding`.

    Inputs are read where they lie. Outputs are copied to where they are bound.
    """

    def __init__(self, compute: Callable[[Arrays], Arrays]) -> None:
        """Begin with nothing bound.

        Args:
            compute: Runs the graph on its inputs; its outputs are valid until the next run.
        """
        self._compute = compute
        self._inputs: dict[str, NDArray[Any]] = {}
        self._outputs: dict[str, NDArray[Any] | None] = {}

    def bind_input(self, name: str, value: NDArray[Any] | DeviceTensor | TensorView) -> None:
        """See :class:`~edgepipe.backend.session.Binding`."""
        self._inputs[name] = _as_array(value)

    def bind_output(
        self, name: str, value: DeviceTensor | TensorView | None = None, device: Device | None = None
    ) -> None:
        """See :class:`~edgepipe.backend.session.Binding`."""
        self._outputs[name] = None if value is None else _as_array(value)

    def run(self) -> dict[str, DeviceTensor]:
        """See :class:`~edgepipe.backend.session.Binding`."""
        found = self._compute(self._inputs)
        allocated: dict[str, DeviceTensor] = {}
        for name, target in self._outputs.items():
            if target is None:
                allocated[name] = ArrayTensor(found[name].copy())
            else:
                np.copyto(target, found[name])
        return allocated


def _as_array(value: NDArray[Any] | DeviceTensor | TensorView) -> NDArray[Any]:
    """The array under what a binding takes."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, TensorView):
        size = math.prod(value.shape)
        return value.memory.numpy().reshape(-1)[value.start : value.start + size].reshape(value.shape)
    return value.numpy()
