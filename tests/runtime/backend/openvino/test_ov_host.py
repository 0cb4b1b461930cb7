"""Arrays as tensors of an engine, and runs that stay bound to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepipe.backend.device import TensorView
from edgepipe.backend.engines import create_session
from edgepipe.backend.openvino.ov_host import HOST, ArrayTensor
from edgepipe.backend.session import SessionConfig
from edgepipe.errors import BundleError
from edgepipe.numerics import log_softmax
from tests.runtime.small_bundle import expected_logits

IDS = np.array([[2, 30, 31, 3]])
MASK = np.ones_like(IDS)


def test_a_tensor_over_an_array() -> None:
    array = np.zeros((2, 3), np.float32)
    tensor = HOST.wrap(array)
    tensor.update_inplace(np.ones((2, 3), np.float32))
    assert (list(tensor.shape()), array.sum(), tensor.data_ptr()) == ([2, 3], 6.0, array.ctypes.data)
    copied, fetched = HOST.copy(array), HOST.fetch(tensor)
    array[...] = 5
    assert copied.numpy().sum() == fetched.sum() == 6.0
    assert list(HOST.empty((4, 1), "float32").shape()) == [4, 1]


def test_rows_are_gathered() -> None:
    source = np.arange(2 * 3 * 1 * 2 * 2, dtype=np.float32).reshape(2, 3, 1, 2, 2)
    memory = HOST.empty((100,), "float32")
    rows = np.array([2, 0])
    target = TensorView(memory, HOST, (2, 2, 1, 3, 2), "float32", 7)
    HOST.gather_rows(TensorView(HOST.wrap(source.reshape(-1)), HOST, source.shape, "float32"), rows, target)
    found = memory.numpy()[7 : 7 + 24].reshape(target.shape)
    np.testing.assert_array_equal(found[:, :, :, :2], source[:, rows])


def test_the_best() -> None:
    scores = np.random.default_rng(0).standard_normal((2, 1, 9), np.float32)
    tensor = ArrayTensor(scores)
    logarithms, indices = HOST.top_k(tensor, "float32", 3)
    np.testing.assert_array_equal(indices[..., 0], HOST.argmax(tensor, "float32"))
    np.testing.assert_array_equal(indices, np.argsort(-scores, axis=-1)[..., :3])
    np.testing.assert_allclose(
        logarithms, np.take_along_axis(log_softmax(scores[:, 0].copy())[:, None], indices, -1), rtol=1e-6
    )


def test_a_binding(graph: Path) -> None:
    binding = create_session(graph, SessionConfig("openvino")).bind()
    ids, target = IDS.copy(), np.empty((1, 3), np.float32)
    binding.bind_input("input_ids", ids)
    binding.bind_input("attention_mask", HOST.wrap(MASK))
    binding.bind_output("logits", HOST.wrap(target))
    for shift in (0, 1):
        ids[...] = IDS + shift
        assert binding.run() == {}
        np.testing.assert_allclose(target, expected_logits("fp32", ids), rtol=1e-5)
    binding.bind_output("logits")
    first = binding.run()["logits"].numpy()
    ids[...] = IDS
    binding.run()
    np.testing.assert_allclose(first, expected_logits("fp32", IDS + 1), rtol=1e-5)


def test_an_input_that_is_not_bound(graph: Path) -> None:
    binding = create_session(graph, SessionConfig("openvino")).bind()
    binding.bind_input("input_ids", IDS)
    with pytest.raises(BundleError, match="and was given input_ids"):
        binding.run()
