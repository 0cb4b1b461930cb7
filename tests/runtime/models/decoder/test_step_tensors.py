"""Inputs that are written and logits that are read, step after step, in the host's memory and as on a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepipe.backend.engines import create_session
from edgepipe.backend.session import Session
from edgepipe.models.decoder.step_tensors import Logits, StepInput
from edgepipe.numerics import log_softmax
from tests.runtime.models.decoder.small_decoders import VOCABULARY, causal_logits, write_causal_graph
from tests.runtime.models.device_memory import DEVICE
from tests.runtime.small_bundle import expected_logits, write_graph

on_both = pytest.mark.parametrize("on_device", [False, True])
IDS = np.array([[1, 2, 3], [4, 5, 6]])
# Graphs that can leave out logits, must be told which, or give all.
KEEPS = ("optional", "required", "")


@pytest.fixture(scope="module")
def bag_of_words(tmp_path_factory: pytest.TempPathFactory) -> Session:
    path = tmp_path_factory.mktemp("words") / "model.onnx"
    write_graph(path, inputs=("input_ids",))
    return create_session(path)


@on_both
def test_what_is_written_is_read_by_the_next_run(bag_of_words: Session, on_device: bool) -> None:
    binding = bag_of_words.bind()
    binding.bind_output("logits")
    ids = StepInput(binding, "input_ids", "int64", DEVICE if on_device else bag_of_words.device)
    for written in (IDS, IDS + 7, IDS[:, :1], IDS[:, 1:2], IDS):
        ids.write(written)
        found = binding.run()["logits"].numpy()
        np.testing.assert_allclose(found, expected_logits("fp32", written.tolist()), rtol=1e-5, atol=1e-6)


def test_the_caller_may_change_what_was_written(bag_of_words: Session) -> None:
    binding = bag_of_words.bind()
    binding.bind_output("logits")
    ids = StepInput(binding, "input_ids", "int64", bag_of_words.device)
    written = IDS.copy()
    ids.write(written)
    written[:] = 0
    found = binding.run()["logits"].numpy()
    np.testing.assert_allclose(found, expected_logits("fp32", IDS.tolist()), rtol=1e-5, atol=1e-6)


def without_cache(folder: Path, **graph: Any) -> Session:
    path = folder / "model.onnx"
    write_causal_graph(path, cache=False, positions=False, **graph)
    return create_session(path)


def run(session: Session, binding: Any, ids: NDArray[np.int64]) -> Any:
    binding.bind_input("input_ids", np.ascontiguousarray(ids))
    binding.bind_input("attention_mask", np.ones_like(ids))
    return binding.run()


@pytest.mark.parametrize("vocabulary", [VOCABULARY, "vocabulary"])
@pytest.mark.parametrize("keep", KEEPS)
@on_both
def test_the_logits_of_the_last_token(on_device: bool, keep: str, vocabulary: int | str, tmp_path: Path) -> None:
    session = without_cache(tmp_path, keep=keep, vocabulary=vocabulary)
    session.device = DEVICE if on_device else session.device
    binding = session.bind()
    logits = Logits(session, binding)
    for ids in (IDS, IDS + 1, IDS[:1], IDS[:, :1], IDS[:, 1:2]):
        logits.bind(*ids.shape, on_device=False)
        found = logits.read(run(session, binding, ids))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, causal_logits(ids, positions=False)[:, -1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("keep", KEEPS)
def test_the_logits_of_every_token(keep: str, tmp_path: Path) -> None:
    session = without_cache(tmp_path, keep=keep)
    binding = session.bind()
    logits = Logits(session, binding, every=True)
    for ids in (IDS, IDS[:, :2], IDS[:1, :1]):
        logits.bind(*ids.shape, on_device=False)
        found = logits.read(run(session, binding, ids))
        np.testing.assert_allclose(found, causal_logits(ids, positions=False), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("vocabulary", [VOCABULARY, "vocabulary"])
@pytest.mark.parametrize("keep", KEEPS)
def test_the_best_tokens_are_found_on_a_device(keep: str, vocabulary: int | str, tmp_path: Path) -> None:
    session = without_cache(tmp_path, keep=keep, vocabulary=vocabulary)
    session.device = DEVICE
    binding = session.bind()
    logits = Logits(session, binding)
    for ids in (IDS, IDS[:, :1], IDS[:1]):
        logits.bind(*ids.shape, on_device=True)
        outputs = run(session, binding, ids)
        expected = log_softmax(causal_logits(ids, positions=False)[:, -1])
        order = np.argsort(-expected, axis=1)[:, :4]
        assert logits.argmax(outputs).tolist() == order[:, 0].tolist()
        values, tokens = logits.top_k(outputs, 4)
        assert tokens.tolist() == order.tolist()
        np.testing.assert_allclose(values, np.take_along_axis(expected, order, axis=1), rtol=1e-5, atol=1e-5)


def test_there_are_no_more_best_tokens_than_tokens(tmp_path: Path) -> None:
    session = without_cache(tmp_path)
    session.device = DEVICE
    binding = session.bind()
    logits = Logits(session, binding)
    logits.bind(*IDS.shape, on_device=True)
    values, tokens = logits.top_k(run(session, binding, IDS), 10 * VOCABULARY)
    assert values.shape == tokens.shape == (len(IDS), VOCABULARY)


def test_logits_go_to_one_buffer_while_the_rows_stay_as_many(tmp_path: Path) -> None:
    session = without_cache(tmp_path)
    binding = session.bind()
    logits = Logits(session, binding)

    def read(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        logits.bind(*ids.shape, on_device=False)
        outputs = run(session, binding, ids)
        assert outputs == {}, "nothing is allocated"
        return logits.read(outputs)

    first = read(IDS)
    assert np.shares_memory(first, read(IDS[:, :1]))
    assert not np.shares_memory(first, read(IDS[:1]))


def test_the_place_of_the_logits_may_change_from_step_to_step(tmp_path: Path) -> None:
    session = without_cache(tmp_path)
    session.device = DEVICE
    binding = session.bind()
    logits = Logits(session, binding)
    expected = causal_logits(IDS, positions=False)[:, -1]
    for on_device in (True, False, True):
        logits.bind(*IDS.shape, on_device=on_device)
        outputs = run(session, binding, IDS)
        if on_device:
            assert logits.argmax(outputs).tolist() == expected.argmax(axis=1).tolist()
        else:
            np.testing.assert_allclose(logits.read(outputs), expected, rtol=1e-5, atol=1e-5)
