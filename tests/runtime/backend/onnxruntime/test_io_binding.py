"""Bound runs: inputs and outputs in arrays, in tensors, and in parts of them."""

from __future__ import annotations

import numpy as np
import pytest

from edgepipe.backend.device import TensorView
from edgepipe.backend.engines import create_session
from edgepipe.backend.session import Session
from edgepipe.errors import BundleError
from tests.runtime.small_bundle import expected_logits, write_graph

IDS = np.array([[2, 30, 31, 3], [2, 40, 3, 0]])
MASK = np.array([[1, 1, 1, 1], [1, 1, 1, 0]])
LOGITS = expected_logits("fp32", IDS.tolist(), MASK.tolist())


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    path = tmp_path_factory.mktemp("bound") / "model.onnx"
    write_graph(path)
    return create_session(path)


def test_what_is_not_bound_to_a_tensor_is_returned(session: Session) -> None:
    binding = session.bind()
    binding.bind_input("input_ids", IDS)
    binding.bind_input("attention_mask", session.device.copy(MASK))
    binding.bind_output("logits")
    found = binding.run()
    assert list(found) == ["logits"]
    np.testing.assert_allclose(found["logits"].numpy(), LOGITS, rtol=1e-5, atol=1e-6)


def test_a_run_reads_and_writes_what_is_bound(session: Session) -> None:
    binding = session.bind()
    ids, logits = session.device.copy(IDS), session.device.empty((2, 3), "float32")
    binding.bind_input("input_ids", ids)
    binding.bind_input("attention_mask", MASK)
    binding.bind_output("logits", logits)
    assert binding.run() == {}
    np.testing.assert_allclose(logits.numpy(), LOGITS, rtol=1e-5, atol=1e-6)
    ids.update_inplace(np.ascontiguousarray(IDS[::-1]))
    assert binding.run() == {}
    swapped = expected_logits("fp32", IDS[::-1].tolist(), MASK.tolist())
    np.testing.assert_allclose(logits.numpy(), swapped, rtol=1e-5, atol=1e-6)


def test_parts_of_one_memory_are_bound(session: Session) -> None:
    device = session.device
    numbers = device.copy(np.concatenate([[-1], IDS.ravel(), MASK.ravel()]))
    logits = device.copy(np.full(10, 7, np.float32))
    binding = session.bind()
    binding.bind_input("input_ids", TensorView(numbers, device, (2, 4), "int64", 1))
    binding.bind_input("attention_mask", TensorView(numbers, device, (2, 4), "int64", 9))
    binding.bind_output("logits", TensorView(logits, device, (2, 3), "float32", 2))
    assert binding.run() == {}
    found = logits.numpy()
    np.testing.assert_allclose(found[2:8].reshape(2, 3), LOGITS, rtol=1e-5, atol=1e-6)
    assert found[[0, 1, 8, 9]].tolist() == [7, 7, 7, 7]


def test_an_output_can_be_bound_again(session: Session) -> None:
    binding = session.bind()
    binding.bind_input("input_ids", IDS)
    binding.bind_input("attention_mask", MASK)
    binding.bind_output("logits", session.device.empty((2, 3), "float32"))
    assert binding.run() == {}
    binding.bind_output("logits")
    assert list(binding.run()) == ["logits"]


def test_a_run_that_fails_says_why(session: Session) -> None:
    binding = session.bind()
    binding.bind_input("input_ids", np.array([[900]]))  # one more than the vocabulary has
    binding.bind_input("attention_mask", np.array([[1]]))
    binding.bind_output("logits")
    with pytest.raises(BundleError, match=r"^the graph failed: .*Gather.*900"):
        binding.run()
