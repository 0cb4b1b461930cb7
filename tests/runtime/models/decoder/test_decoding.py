"""What all decoders have in common: the limit, the best tokens, and rows that go on as others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe.backend.machine import MemoryBound
from edgepipe.errors import BundleError, InputError, OutOfMemoryError
from edgepipe.models import kv_memory
from edgepipe.models.decoder.causal import CausalGraph
from edgepipe.numerics import log_softmax
from tests.runtime.models.decoder.small_decoders import LIMIT, VOCABULARY, causal_bundle, causal_logits
from tests.runtime.models.device_memory import DEVICE

IDS = np.random.default_rng(0).integers(0, VOCABULARY, (3, LIMIT + 1))


@pytest.fixture
def decoder(tmp_path: Path) -> CausalGraph:
    return CausalGraph(causal_bundle(tmp_path))


def test_it_knows_what_the_search_asks(decoder: CausalGraph, tmp_path: Path) -> None:
    assert (decoder.directory, decoder.dtype, decoder.max_length) == (tmp_path, "fp32", LIMIT)
    assert decoder.config["model_type"] == "gpt2"
    assert decoder.generation_config == {}


def test_no_more_tokens_than_the_model_takes(decoder: CausalGraph) -> None:
    message = f"{LIMIT + 1} tokens are more than the {LIMIT} that the model takes, prompt and new tokens together"
    decoding = decoder.begin(IDS, np.ones_like(IDS))
    with pytest.raises(InputError, match=message):
        decoding.step(IDS)
    decoding.step(IDS[:, : LIMIT - 1])
    last = decoding.step(IDS[:, LIMIT - 1 : LIMIT]).copy()
    for ask in (decoding.step, decoding.argmax):
        with pytest.raises(InputError, match=message):
            ask(IDS[:, LIMIT:])
    np.testing.assert_allclose(last, causal_logits(IDS[:, :LIMIT])[:, -1], rtol=1e-4, atol=1e-4)


def test_a_refused_step_leaves_the_rows_as_they_were(decoder: CausalGraph) -> None:
    decoding = decoder.begin(IDS[:, :4], np.ones((3, 4), np.int64))
    decoding.step(IDS[:, :4])
    with pytest.raises(InputError, match="more than the"):
        decoding.step(IDS[:, 4:])
    found = decoding.step(IDS[:, 4:5])
    np.testing.assert_allclose(found, causal_logits(IDS[:, :5])[:, -1], rtol=1e-4, atol=1e-4)


def test_the_scores_are_the_caller_s_to_change(decoder: CausalGraph) -> None:
    decoding = decoder.begin(IDS[:, :4], np.ones((3, 4), np.int64))
    for end in range(4, 8):
        found = decoding.step(IDS[:, (end - 1 if end > 4 else 0) : end])
        np.testing.assert_allclose(found, causal_logits(IDS[:, :end])[:, -1], rtol=1e-4, atol=1e-4)
        found[...] = np.nan


def test_scores_of_every_token_have_a_best_of_their_own(decoder: CausalGraph) -> None:
    decoding = decoder.begin(IDS[:1, :2], np.ones((1, 2), np.int64))
    scores = np.zeros((1, 2, 3), np.float32)
    scores[..., 2] = -np.inf  # no token is ever followed by this one
    assert decoding._check_finite(scores) is scores
    scores[0, 1] = -np.inf
    with pytest.raises(BundleError, match="the output logits of the variant fp32 is not finite"):
        decoding._check_finite(scores)


@pytest.mark.parametrize("on_device", [False, True])
def test_the_best_tokens(decoder: CausalGraph, on_device: bool) -> None:
    if on_device:
        decoder.session.device = DEVICE
    ids = IDS[:, :6]
    expected = causal_logits(ids)[:, -1]
    decoding = decoder.begin(ids, np.ones_like(ids))
    assert decoding.scores_on_device is on_device
    assert decoding.argmax(ids).tolist() == expected.argmax(axis=1).tolist()
    if on_device:
        values, tokens = decoder.begin(ids, np.ones_like(ids)).top_k(ids, 3)
        logarithms = log_softmax(expected.copy())
        assert tokens.tolist() == np.argsort(-logarithms, axis=1)[:, :3].tolist()
        np.testing.assert_allclose(values, np.sort(logarithms, axis=1)[:, :-4:-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 2, 0, 1, 2], [1], [2, 1, 0], [0, 0, 2]], ids=str)
def test_selected_rows_go_on_with_what_they_had(decoder: CausalGraph, rows: list[int], on_device: bool) -> None:
    if on_device:
        decoder.session.device = DEVICE
    decoding = decoder.begin(IDS[:, :4], np.ones((3, 4), np.int64))
    decoding.step(IDS[:, :4])
    ids = IDS[:, :4]
    for token in range(3):  # again and again
        chosen = np.array(rows) % len(ids)
        decoding.select(chosen)
        ids = np.concatenate([ids[chosen], np.arange(len(rows))[:, None] + token], axis=1)
        found = decoding.step(ids[:, -1:])
        np.testing.assert_allclose(found, causal_logits(ids)[:, -1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("shared", "buffers"), [(True, 1), (False, 2)], ids=["one buffer", "two by turns"])
def test_what_is_counted_is_what_the_cache_takes(shared: bool, buffers: int, tmp_path: Path) -> None:
    decoder = CausalGraph(causal_bundle(tmp_path, shared=shared))
    assert decoder.count_cache_bytes(3, 1, 4, 10) == buffers * 3 * 10 * 2 * VOCABULARY * 4
    decoding = decoder.begin(IDS[:, :4], np.ones((3, 4), np.int64), 10)
    for end in range(4, 11):
        decoding.step(IDS[:, 0 if end == 4 else end - 1 : end])
    cache: Any = decoding._cache
    held = [cache._buffer, cache._spare] if shared else [cache._past, cache._present]
    memories = [memory for buffer in held for memory in buffer._memories]
    assert sum(memory.nbytes for memory in memories) == decoder.count_cache_bytes(3, 1, 4, 10)


def test_room_is_looked_for_where_the_cache_lies(decoder: CausalGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_memory, "memory_bounds", lambda: [MemoryBound("the board", 0, 0)])
    assert not decoder.has_room(1 << 30)
    with pytest.raises(OutOfMemoryError, match="the board has 0 MB free"):
        decoder.check_room(1 << 30, "a text", None)
    monkeypatch.setattr(decoder.session, "device", DEVICE)
    decoder.check_room(1 << 30, "a text", None)
    assert decoder.has_room(1 << 30)
