"""Small ONNX models for what is computed on a device, where numpy cannot reach.

onnxruntime runs them on the device that has the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from edgepipe.backend.device import Device, DeviceTensor
from edgepipe.backend.onnxruntime.io_binding import IoBinding
from edgepipe.backend.onnxruntime.library import load_ort
from edgepipe.backend.onnxruntime.onnx_writer import ELEMENT_TYPES, Node, write_model
from edgepipe.backend.onnxruntime.providers import CPU, CUDA


@cache
def gather_rows(dtype: str, device: Device) -> DeviceOperator:
    """``block`` [tensors, rows, heads, tokens, width], ``rows`` int64[kept] -> ``gathered`` [tensors, kept, ...]."""
    nodes = [Node("Gather", ["block", "rows"], ["gathered"], {"axis": 1})]
    return DeviceOperator(
        write_model(nodes, {"block": (dtype, 5), "rows": ("int64", 1)}, {"gathered": (dtype, 5)}), device
    )


@cache
def gather_rows_and_extend(dtype: str, device: Device) -> DeviceOperator:
    """As :func:`gather_rows`, with ``room`` [tensors, kept, heads, new, width] after the tokens."""
    nodes = [
        Node("Gather", ["block", "rows"], ["kept"], {"axis": 1}),
        Node("Concat", ["kept", "room"], ["gathered"], {"axis": 3}),
    ]
    inputs = {"block": (dtype, 5), "rows": ("int64", 1), "room": (dtype, 5)}
    return DeviceOperator(write_model(nodes, inputs, {"gathered": (dtype, 5)}), device)


@cache
def argmax(dtype: str, device: Device) -> DeviceOperator:
    """``scores`` [rows, tokens, vocabulary] -> ``tokens`` int64[rows, tokens], the first of the best."""
    nodes = [Node("ArgMax", ["scores"], ["tokens"], {"axis": -1, "keepdims": 0})]
    return DeviceOperator(write_model(nodes, {"scores": (dtype, 3)}, {"tokens": ("int64", 2)}), device)


@cache
def top_k(dtype: str, device: Device) -> DeviceOperator:
    """The best of ``scores`` [rows, tokens, vocabulary], best first, as many as ``count`` int64[1] says.

    ``tokens`` int64[rows, tokens, count], and their log-probabilities ``logarithms``, float32 likewise.
    """
    nodes = [
        Node("Cast", ["scores"], ["single"], {"to": ELEMENT_TYPES["float32"]}),
        Node("LogSoftmax", ["single"], ["all"], {"axis": -1}),
        Node("TopK", ["all", "count"], ["logarithms", "tokens"], {"axis": -1}),
    ]
    outputs = {"logarithms": ("float32", 3), "tokens": ("int64", 3)}
    return DeviceOperator(write_model(nodes, {"scores": (dtype, 3), "count": ("int64", 1)}, outputs), device)


class DeviceOperator:
    """A small model, loaded on a device."""

    def __init__(self, content: bytes, device: Device) -> None:
        ort = load_ort()
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        providers: list[Any] = [CPU]
        if device.kind == "cuda":
            providers.insert(0, (CUDA, {"device_id": device.index}))
        self._session = ort.InferenceSession(content, options, providers=providers, enable_fallback=0)

    def run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, DeviceTensor]:
        """Run it.

        Args:
            inputs: Arrays, tensors or views by name.
            outputs: Tensors or views to write into; None has one allocated in the host's memory.

        Returns:
            The tensors that were allocated.
        """
        binding = IoBinding(self._session)
        for name, value in inputs.items():
            binding.bind_input(name, value)
        for name, value in outputs.items():
            binding.bind_output(name, value)
        return binding.run()
