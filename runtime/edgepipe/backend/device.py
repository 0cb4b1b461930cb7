"""Tensors where a graph computes: in the host's memory, or in a device's, where numpy cannot reach."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """The name of a device, with the attributes of a ``torch.device``.

    Attributes:
        type: ``"cpu"``, ``"cuda"`` ...
        index: Which of the devices of its type; None for a processor.
    """

    type: str = "cpu"
    index: int | None = None

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"


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


@dataclass(frozen=True)
class Device(ABC):
    """Memory that a graph reads and writes without copies, and what can be computed there.

    Attributes:
        kind: ``"cpu"``, ``"cuda"`` ...
        index: Which of the devices of its kind.
        is_host: Whether numpy may read and write the memory. A test says False of the processor, and so runs what runs
            on a device.
    """

    kind: str = "cpu"
    index: int = 0
    is_host: bool = True

    @abstractmethod
    def empty(self, shape: Sequence[int], dtype: str) -> DeviceTensor:
        """A tensor with any content.

        Raises:
            BundleError: it cannot be allocated.
            OutOfMemoryError: there was too little memory.
        """

    @abstractmethod
    def copy(self, array: NDArray[Any]) -> DeviceTensor:
        """A tensor with an array's content, in memory of its own."""

    @abstractmethod
    def wrap(self, array: NDArray[Any]) -> DeviceTensor:
        """A tensor over the memory of a contiguous array, in the host's memory."""

    @abstractmethod
    def fetch(self, tensor: DeviceTensor) -> NDArray[Any]:
        """A copy of a tensor in the host's memory."""

    @abstractmethod
    def gather_rows(self, source: TensorView, rows: NDArray[np.int64], target: TensorView) -> None:
        """Copy rows: ``target[:, i, :, :tokens] = source[:, rows[i]]``.

        Args:
            source: [tensors, rows, heads, tokens, width].
            rows: int64[kept].
            target: [tensors, kept, heads, tokens or more, width]; what follows the tokens has any content.
        """

    @abstractmethod
    def argmax(self, scores: DeviceTensor, dtype: str) -> NDArray[np.int64]:
        """The first of the best of `scores`, [rows, tokens, vocabulary], as int64[rows, tokens]."""

    @abstractmethod
    def top_k(self, scores: DeviceTensor, dtype: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The best `count` of `scores`, [rows, tokens, vocabulary], best first.

        Returns:
            Their log-probabilities and their indices, [rows, tokens, count] each.
        """


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
