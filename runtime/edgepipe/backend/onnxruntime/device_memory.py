"""Where values lie: in the host's memory or in a device's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe.backend.onnxruntime.diagnostics import run_failure
from edgepipe.backend.onnxruntime.library import load_ort, ort_errors

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Place:
    """Memory that a graph reads and writes without copies.

    Attributes:
        kind: As onnxruntime names it: ``"cpu"`` or ``"cuda"``.
        index: Which of the devices of its kind.
        is_host: Whether numpy may look at it. False for every device; a test says False of the processor too, and so
            runs what runs on a device.
    """

    kind: str = "cpu"
    index: int = 0
    is_host: bool = True

    def empty(self, shape: Sequence[int], dtype: str) -> Any:
        """An ``OrtValue`` of this shape, with any content.

        Raises:
            BundleError: it cannot be made.
            OutOfMemoryError: there was too little memory.
        """
        make = load_ort().OrtValue.ortvalue_from_shape_and_type
        try:
            return make(list(shape), np.dtype(dtype), self.kind, self.index)
        except ort_errors() as error:
            raise run_failure(f"no value of {dtype} {list(shape)} could be made on {self.kind}", error) from error

    def holding(self, array: NDArray[Any]) -> Any:
        """An ``OrtValue`` with an array's content, in memory of its own."""
        value = self.empty(array.shape, array.dtype.name)
        if array.size:
            value.update_inplace(np.ascontiguousarray(array))
        return value


HOST = Place()


def place_of(providers: Sequence[str], options: Mapping[str, Mapping[str, str]]) -> Place:
    """Where a session computes.

    Args:
        providers: Its execution providers, first choice first.
        options: Their options, as onnxruntime's ``get_provider_options`` tells them.
    """
    first = providers[0]
    if first != "CUDAExecutionProvider":
        return HOST  # others take values from the host and copy them themselves
    return Place("cuda", int(options.get(first, {}).get("device_id", 0)), is_host=False)


def fetched(value: Any) -> NDArray[Any]:
    """A copy in the host's memory of what a value holds."""
    array: NDArray[Any] = value.numpy()
    # Of a device's value numpy() is a copy already, of the processor's a view.
    return array.copy() if value.device_name().lower() == "cpu" else array


@dataclass(frozen=True, slots=True)
class View:
    """A part of a value's memory, as a tensor of its own.

    Attributes:
        memory: The ``OrtValue``, of one dimension and this dtype.
        place: Where it lies.
        shape: The tensor's.
        dtype: Name of the numpy dtype.
        start: At which element of the memory it begins.
    """

    memory: Any
    place: Place
    shape: tuple[int, ...]
    dtype: str
    start: int = 0

    @property
    def address(self) -> int:
        """Of its first byte."""
        return int(self.memory.data_ptr()) + self.start * np.dtype(self.dtype).itemsize
