"""What a device computes, on the processor's memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepipe.backend.device import TensorView
from edgepipe.backend.onnxruntime.ort_device import HOST


def view_of(array: NDArray[Any]) -> TensorView:
    return TensorView(HOST.copy(array.reshape(-1)), HOST, array.shape, array.dtype.name)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_are_gathered(dtype: str) -> None:
    block = np.arange(2 * 3 * 2 * 4 * 5).reshape(2, 3, 2, 4, 5).astype(dtype)
    rows = np.array([2, 0, 0, 1])
    for more in (0, 3):
        target = view_of(np.zeros((2, 4, 2, 4 + more, 5), dtype))
        HOST.gather_rows(view_of(block), rows, target)
        found = HOST.fetch(target.memory).reshape(target.shape)
        assert np.array_equal(found[:, :, :, :4], block[:, rows])


def test_views_of_one_memory_are_read_and_written() -> None:
    memory = HOST.copy(np.arange(24, dtype=np.float32))
    source = TensorView(memory, HOST, (2, 3, 1, 1, 2), "float32")
    target = TensorView(memory, HOST, (2, 1, 1, 1, 2), "float32", 12)
    HOST.gather_rows(source, np.array([1]), target)
    assert memory.numpy()[:12].tolist() == list(range(12))
    assert memory.numpy()[12:].tolist() == [2, 3, 8, 9, *range(16, 24)]
