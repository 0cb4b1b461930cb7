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


def test_the_first_of_the_best_is_taken() -> None:
    scores = np.random.default_rng(0).integers(0, 9, (3, 2, 50)).astype(np.float32)
    found = HOST.argmax(HOST.wrap(scores), "float32")
    assert found.dtype == np.int64
    assert np.array_equal(found, scores.argmax(-1))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_best_come_with_their_log_probabilities(dtype: str) -> None:
    scores = np.random.default_rng(0).normal(0, 3, (3, 2, 50)).astype(dtype)
    scores[0, 0, 7] = scores[0, 0, 3]
    logarithms, indices = HOST.top_k(HOST.wrap(scores), dtype, 6)
    exact = scores.astype(np.float64)
    exact -= np.log(np.exp(exact).sum(-1, keepdims=True))
    order = np.argsort(-exact, axis=-1, kind="stable")[..., :6]
    assert np.array_equal(indices, order)
    np.testing.assert_allclose(logarithms, np.take_along_axis(exact, order, -1), atol=1e-5)


def test_views_of_one_memory_are_read_and_written() -> None:
    memory = HOST.copy(np.arange(24, dtype=np.float32))
    source = TensorView(memory, HOST, (2, 3, 1, 1, 2), "float32")
    target = TensorView(memory, HOST, (2, 1, 1, 1, 2), "float32", 12)
    HOST.gather_rows(source, np.array([1]), target)
    assert memory.numpy()[:12].tolist() == list(range(12))
    assert memory.numpy()[12:].tolist() == [2, 3, 8, 9, *range(16, 24)]
