"""Tensors where a graph computes: in the host's memory, or in a device's, where numpy cannot reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class DeviceTensor(Protocol):
    """A tensor of an engine's; its methods are those of ``onnxruntime.OrtValue``."""

    def shape(self) -> Sequence[int]:
        """Its sizes."""
        ...

    def numpy(self) -> NDArray[Any]:
        """Its content: a view in the host's memory, a copy elsewhere."""
        ...

    def update_inplace(self, array: NDArray[Any], /) -> None:
        """Write a contiguous array of its shape and dtype into it."""
        ...

    def data_ptr(self) -> int:
        """The address of its first byte."""
        ...


class Device(Protocol):
    """Memory that a graph reads and writes without copies, and what can be computed there."""

    @property
    def kind(self) -> str:
        """``"cpu"``, ``"cuda"`` ..."""
        ...

    @property
    def index(self) -> int:
        """Which of the devices of its kind."""
        ...

    @property
    def is_host(self) -> bool:
        """Whether numpy may read and write it. False for every device.

        A test says False of the processor too, and so runs what runs on a device.
        """
        ...

    def empty(self, shape: Sequence[int], dtype: str) -> DeviceTensor:
        """A tensor with any content.

        Raises:
            BundleError: it cannot be allocated.
            OutOfMemoryError: there was too little memory.
        """
        ...

    def copy(self, array: NDArray[Any]) -> DeviceTensor:
        """A tensor with an array's content, in memory of its own."""
        ...

    def wrap(self, array: NDArray[Any]) -> DeviceTensor:
        """A tensor over the memory of a contiguous array, in the host's memory."""
        ...

    def fetch(self, tensor: DeviceTensor) -> NDArray[Any]:
        """A copy of a tensor in the host's memory."""
        ...

    def gather_rows(self, source: TensorView, rows: NDArray[np.int64], target: TensorView) -> None:
        """Copy rows: ``target[:, i, :, :tokens] = source[:, rows[i]]``.

        Args:
            source: [tensors, rows, heads, tokens, width].
            rows: int64[kept].
            target: [tensors, kept, heads, tokens or more, width]; what follows the tokens has any content.
        """
        ...

    def argmax(self, scores: DeviceTensor, dtype: str) -> NDArray[np.int64]:
        """The first of the best of `scores`, [rows, tokens, vocabulary], as int64[rows, tokens]."""
        ...

    def top_k(self, scores: DeviceTensor, dtype: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The best `count` of `scores`, [rows, tokens, vocabulary], best first.

        Returns:
            Their log-probabilities and their indices, [rows, tokens, count] each.
        """
        ...


@dataclass(frozen=True, slots=True)
class TensorView:
    """A part of a tensor's memory, as a tensor of its own.

    Attributes:
        memory: The tensor, of one dimension and this dtype.
        device: Where it lies.
        shape: The part's.
        dtype: Name of the numpy dtype.
        start: At which element of the memory it begins.
    """

    memory: DeviceTensor
    device: Device
    shape: tuple[int, ...]
    dtype: str
    start: int = 0

    @property
    def address(self) -> int:
        """Of its first byte."""
        return int(self.memory.data_ptr()) + self.start * np.dtype(self.dtype).itemsize
