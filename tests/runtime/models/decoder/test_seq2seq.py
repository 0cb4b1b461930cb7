"""Encoder-decoders step by step, beside numpy's logits for the whole target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe.errors import InputError
from edgepipe.models.decoder.seq2seq import EncoderDecoderGraphs
from tests.runtime.models.decoder.small_decoders import LIMIT, VOCABULARY, seq2seq_bundle, step_by_step, target_logits
from tests.runtime.models.device_memory import DEVICE

KINDS: dict[str, dict[str, Any]] = {
    "a cache in one buffer": {"shared": True},
    "a cache that grows": {"grows": True},
    "room that nobody told of": {},
    "no cache": {"cache": False},
    "a source for all rows": {"shared": True, "source_rows": "source_batch_size"},
}
SOURCE = np.random.default_rng(2).integers(0, VOCABULARY, (3, 6))
MASK = np.ones_like(SOURCE)
MASK[1, 2:] = 0
IDS = np.random.default_rng(3).integers(0, VOCABULARY, (3, 7))

pytestmark = pytest.mark.filterwarnings("ignore:.* has no cache inputs")


@pytest.fixture(params=KINDS)
def decoder(request: pytest.FixtureRequest, tmp_path: Path) -> EncoderDecoderGraphs:
    return EncoderDecoderGraphs(seq2seq_bundle(tmp_path, **KINDS[request.param]))


@pytest.mark.parametrize("on_device", [False, True])
def test_each_step_gives_what_the_whole_target_gives(decoder: EncoderDecoderGraphs, on_device: bool) -> None:
    if on_device:
        decoder.session.device = DEVICE
    for room in (None, 7, 2):
        found = step_by_step(decoder.begin(SOURCE, MASK, room), IDS, (1, 1, 3, 1))
        expected = target_logits(SOURCE, MASK, IDS)[:, [0, 1, 4, 5]]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_scores_of_every_token(decoder: EncoderDecoderGraphs) -> None:
    found = decoder.scores(SOURCE, MASK, IDS)
    np.testing.assert_allclose(found, target_logits(SOURCE, MASK, IDS), rtol=1e-4, atol=1e-4)


def test_the_scores_of_a_decoder_that_takes_one_token_at_a_time(tmp_path: Path) -> None:
    found = EncoderDecoderGraphs(seq2seq_bundle(tmp_path, tokens=1)).scores(SOURCE, MASK, IDS)
    np.testing.assert_allclose(found, target_logits(SOURCE, MASK, IDS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("rows", [[0, 0, 1, 1, 2, 2], [2, 0], [1, 1, 1], [2, 1, 0]], ids=str)
def test_selected_rows_go_on_with_their_source(decoder: EncoderDecoderGraphs, rows: list[int], on_device: bool) -> None:
    if on_device:
        decoder.session.device = DEVICE
    decoding = decoder.begin(SOURCE, MASK)
    decoding.step(IDS[:, :1])
    source, mask, ids = SOURCE, MASK, IDS[:, :1]
    for token in range(3):
        chosen = np.array(rows) % len(ids)
        decoding.select(chosen)
        source, mask, ids = source[chosen], mask[chosen], ids[chosen]
        ids = np.concatenate([ids, np.arange(len(rows))[:, None] + token], axis=1)
        found = decoding.step(ids[:, -1:])
        np.testing.assert_allclose(found, target_logits(source, mask, ids)[:, -1], rtol=1e-4, atol=1e-4)


def test_rows_of_one_source_read_it_once(tmp_path: Path) -> None:
    decoder = EncoderDecoderGraphs(seq2seq_bundle(tmp_path, source_rows="source_batch_size"))
    assert decoder.broadcasts
    decoding = decoder.begin(SOURCE[:2], MASK[:2])
    decoding.step(IDS[:2, :1])
    for rows, expected in (([0, 0, 1, 1], 4), ([0, 2, 3, 1], 4), ([1, 2, 1], 1)):
        decoding.select(np.array(rows))
        assert {tensor.shape[0] for tensor in decoding._fixed.values()} == {expected}


def test_a_source_is_no_longer_than_the_encoder_takes(tmp_path: Path) -> None:
    decoder = EncoderDecoderGraphs(seq2seq_bundle(tmp_path, limit=LIMIT))
    assert (decoder.max_source_length, decoder.max_length) == (LIMIT, LIMIT)
    source = np.ones((1, LIMIT), np.int64)
    decoder.begin(source, source).step(IDS[:1, :1])
    longer = np.ones((1, LIMIT + 1), np.int64)
    message = f"{LIMIT + 1} tokens are more than the {LIMIT} that the encoder takes; shorten the text or pass trunc"
    for ask in (lambda: decoder.begin(longer, longer), lambda: decoder.scores(longer, longer, IDS[:1])):
        with pytest.raises(InputError, match=message):
            ask()


def test_one_buffer_needs_the_manifest_s_word_and_a_graph_that_is_told_the_length(tmp_path: Path) -> None:
    found = {
        name: EncoderDecoderGraphs(seq2seq_bundle(tmp_path / name, **graphs)).shares
        for name, graphs in {
            "both": {"shared": True},
            "manifest": {"shared": True, "grows": True},
            "graph": {},
        }.items()
    }
    assert found == {"both": True, "manifest": False, "graph": False}
