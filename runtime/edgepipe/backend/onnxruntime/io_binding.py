"""Runs of one graph whose inputs and outputs stay bound."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.device import Device, DeviceTensor, TensorView
from edgepipe.backend.onnxruntime.diagnostics import explain_run_failure
from edgepipe.backend.onnxruntime.ort_module import ort_errors
from edgepipe.forks import within_engine


class IoBinding:
    """A :class:`~edgepipe.backend.session.Binding`. Its tensors are onnxruntime's ``OrtValue``."""

    def __init__(self, session: Any, run_options: Any = None) -> None:
        """Begin with nothing bound, for an ``onnxruntime.InferenceSession`` and its ``RunOptions`` for every run."""
        self._session = session
        self._run_options = run_options
        self._binding = session.io_binding()
        self._outputs: list[str] = []
        # onnxruntime before 1.24 does not keep what it binds.
        self._bound: dict[str, Any] = {}

    def bind_input(self, name: str, value: NDArray[Any] | DeviceTensor | TensorView) -> None:
        """See :class:`~edgepipe.backend.session.Binding`."""
        self._bound[name] = value
        if isinstance(value, TensorView):
            self._binding.bind_input(name, *_buffer(value))
        elif isinstance(value, np.ndarray):
            self._binding.bind_cpu_input(name, value)
        else:
            self._binding.bind_ortvalue_input(name, value)

    def bind_output(
        self, name: str, value: DeviceTensor | TensorView | None = None, device: Device | None = None
    ) -> None:
        """See :class:`~edgepipe.backend.session.Binding`."""
        if name not in self._outputs:
            self._outputs.append(name)
        self._bound[name] = value
        if value is None:
            self._binding.bind_output(name, *(("cpu", 0) if device is None else (device.kind, device.index)))
        elif isinstance(value, TensorView):
            self._binding.bind_output(name, *_buffer(value))
        else:
            self._binding.bind_ortvalue_output(name, value)

    def run(self) -> dict[str, DeviceTensor]:
        """See :class:`~edgepipe.backend.session.Binding`."""
        try:
            with within_engine():
                self._session.run_with_iobinding(self._binding, self._run_options)
        except ort_errors() as error:
            raise explain_run_failure("the graph failed", error) from error
        if all(self._bound[name] is not None for name in self._outputs):
            return {}
        values = zip(self._outputs, self._binding.get_outputs(), strict=True)
        return {name: value for name, value in values if self._bound[name] is None}


def _buffer(view: TensorView) -> tuple[str, int, Any, list[int], int]:
    """A view as the arguments of onnxruntime's ``bind_input`` and ``bind_output``."""
    return view.device.kind, view.device.index, np.dtype(view.dtype).type, list(view.shape), view.address
