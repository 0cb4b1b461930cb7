"""Names of devices, and parts of a tensor's memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgepipe.backend.device import DeviceSpec, TensorView
from edgepipe.backend.onnxruntime.ort_device import OrtDevice


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2), ("int64", 8), ("bool", 1)])
def test_a_part_begins_at_its_element(dtype: str, size: int) -> None:
    memory = OrtDevice().copy(np.zeros(6, dtype))
    assert TensorView(memory, OrtDevice(), (6,), dtype).address == memory.data_ptr()
    assert TensorView(memory, OrtDevice(), (1, 3), dtype, 3).address == memory.data_ptr() + 3 * size


@pytest.mark.parametrize(("spec", "name"), [(DeviceSpec(), "cpu"), (DeviceSpec("cuda", 1), "cuda:1")])
def test_a_device_is_named_as_in_torch(spec: DeviceSpec, name: str) -> None:
    device = torch.device(name)
    assert (str(spec), spec.type, spec.index) == (str(device), device.type, device.index)
