"""Operators for scores that lie on a device, on the processor's memory."""

from __future__ import annotations

import numpy as np
import pytest

from edgepipe.backend.onnxruntime.ort_device import HOST


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
