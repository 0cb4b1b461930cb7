"""onnxruntime's memory, the host's or a GPU's, as a :class:`~edgepipe.backend.device.Device`.

What is computed there are small ONNX models: onnxruntime runs them on the device that has the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.device import Device, DeviceTensor, TensorView
from edgepipe.backend.onnxruntime.diagnostics import explain_run_failure
from edgepipe.backend.onnxruntime.io_binding import IoBinding
from edgepipe.backend.onnxruntime.ort_module import CUDA, load_ort, ort_errors


class OrtDevice(Device):
    """See :class:`~edgepipe.backend.device.Device`."""

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
        array = tensor.numpy()  # of a GPU's tensor a copy already
        return array.copy() if tensor.device_name().lower() == "cpu" else array  # type: ignore[attr-defined]

    def gather_rows(self, source: TensorView, rows: NDArray[np.int64], target: TensorView) -> None:
        """See :class:`~edgepipe.backend.device.Device`."""
        tensors, kept, heads, tokens, width = target.shape
        feeds = {"source": source, "rows": rows}
        more = tokens - source.shape[3]
        if more:
            feeds["room"] = self.empty((tensors, kept, heads, more, width), target.dtype)
        self._run("extend" if more else "gather", target.dtype, feeds, {"target": target})

    def argmax(self, scores: DeviceTensor, dtype: str) -> NDArray[np.int64]:
        """See :class:`~edgepipe.backend.device.Device`."""
        return self.fetch(self._run("argmax", dtype, {"scores": scores}, {"indices": None})["indices"])

    def top_k(self, scores: DeviceTensor, dtype: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """See :class:`~edgepipe.backend.device.Device`."""
        feeds = {"scores": scores, "count": np.array([count])}
        found = self._run("top_k", dtype, feeds, {"logarithms": None, "indices": None})
        return self.fetch(found["logarithms"]), self.fetch(found["indices"])

    def _run(self, operator: str, dtype: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
        """Run an operator; outputs that are None are allocated in the host's memory and returned."""
        # Decoders alone need it, and its models take milliseconds of a start.
        from edgepipe.backend.onnxruntime.ort_operators import load_operator

        binding = IoBinding(load_operator(operator, dtype, self.kind, self.index))
        for name, value in inputs.items():
            binding.bind_input(name, value)
        for name, value in outputs.items():
            binding.bind_output(name, value)
        return binding.run()


HOST = OrtDevice()


def device_of(providers: Sequence[str], options: Mapping[str, Mapping[str, str]]) -> OrtDevice:
    """Where a session computes, by its ``get_providers`` and ``get_provider_options``."""
    if providers[0] != CUDA:
        return HOST  # others take values from the host and copy them themselves
    return OrtDevice("cuda", int(options.get(CUDA, {}).get("device_id", 0)), is_host=False)
