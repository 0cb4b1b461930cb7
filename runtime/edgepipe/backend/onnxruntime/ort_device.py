"""onnxruntime's memory, the host's or a GPU's, as a :class:`~edgepipe.backend.device.Device`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgepipe.backend.device import DeviceTensor, TensorView
from edgepipe.backend.onnxruntime.device_operators import argmax, gather_rows, gather_rows_and_extend, top_k
from edgepipe.backend.onnxruntime.diagnostics import explain_run_failure
from edgepipe.backend.onnxruntime.library import load_ort, ort_errors
from edgepipe.backend.onnxruntime.providers import CUDA

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class OrtDevice:
    """See :class:`~edgepipe.backend.device.Device`."""

    kind: str = "cpu"
    index: int = 0
    is_host: bool = True

    def empty(self, shape: Sequence[int], dtype: str) -> DeviceTensor:
        """See :class:`~edgepipe.backend.device.Device`."""
        try:
            tensor: DeviceTensor = load_ort().OrtValue.ortvalue_from_shape_and_type(
                list(shape), np.dtype(dtype), self.kind, self.index
            )
        except ort_errors() as error:
            what = f"no value of {dtype} {list(shape)} could be made on {self.kind}"
            raise explain_run_failure(what, error) from error
        return tensor

    def copy(self, array: NDArray[Any]) -> DeviceTensor:
        """See :class:`~edgepipe.backend.device.Device`."""
        tensor = self.empty(array.shape, array.dtype.name)
        if array.size:
            tensor.update_inplace(np.ascontiguousarray(array))
        return tensor

    def wrap(self, array: NDArray[Any]) -> DeviceTensor:
        """See :class:`~edgepipe.backend.device.Device`."""
        tensor: DeviceTensor = load_ort().OrtValue.ortvalue_from_numpy(array)
        return tensor

    def fetch(self, tensor: DeviceTensor) -> NDArray[Any]:
        """See :class:`~edgepipe.backend.device.Device`."""
        # numpy() of a GPU's tensor is a copy already; it has no address in the host's memory.
        array = tensor.numpy()
        return array.copy() if tensor.device_name().lower() == "cpu" else array  # type: ignore[attr-defined]

    def gather_rows(self, source: TensorView, rows: NDArray[np.int64], target: TensorView) -> None:
        """See :class:`~edgepipe.backend.device.Device`."""
        feeds = {"block": source, "rows": rows}
        tensors, kept, heads, tokens, width = target.shape
        more = tokens - source.shape[3]
        if not more:
            gather_rows(target.dtype, self).run(feeds, {"gathered": target})
            return
        room = self.empty((tensors, kept, heads, more, width), target.dtype)
        gather_rows_and_extend(target.dtype, self).run({**feeds, "room": room}, {"gathered": target})

    def argmax(self, scores: DeviceTensor, dtype: str) -> NDArray[np.int64]:
        """See :class:`~edgepipe.backend.device.Device`."""
        return self.fetch(argmax(dtype, self).run({"scores": scores}, {"tokens": None})["tokens"])

    def top_k(self, scores: DeviceTensor, dtype: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """See :class:`~edgepipe.backend.device.Device`."""
        feeds = {"scores": scores, "count": np.array([count])}
        found = top_k(dtype, self).run(feeds, {"logarithms": None, "tokens": None})
        return self.fetch(found["logarithms"]), self.fetch(found["tokens"])


HOST = OrtDevice()


def device_of(providers: Sequence[str], options: Mapping[str, Mapping[str, str]]) -> OrtDevice:
    """Where a session computes.

    Args:
        providers: Its execution providers, first choice first.
        options: Their options, as onnxruntime's ``get_provider_options`` tells them.
    """
    if providers[0] != CUDA:
        return HOST  # others take values from the host and copy them themselves
    return OrtDevice("cuda", int(options.get(CUDA, {}).get("device_id", 0)), is_host=False)
