"""XLNet's graph step by step, beside the steps of transformers' ``generate``, with every way to keep states."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgepipe import Bundle
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe.models.decoder.recurrent import RecurrentGraph, count_kept
from edgepipe_export import export
from tests.tiny.generation import generate_step
from tests.tiny.generative import build_generative

MEMORIES: dict[str, dict[str, Any]] = {
    "all states": {"mem_len": None},
    "the last states": {"mem_len": 6},
    "states of the first tokens": {"mem_len": None, "reuse_len": 3},
    "one state of each step": {"mem_len": None, "reuse_len": 1},
    "both": {"mem_len": 5, "reuse_len": 2},
    "none but two": {"mem_len": 2},
    "more than were traced": {"mem_len": 40, "reuse_len": 30},
    "the default": {},
}
ROWS = np.array([1, 0, 1])
STEPS = 8

Written = tuple[Any, Any, Bundle]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Written]:
    """A function that exports a tiny XLNet; one graph is made for each memory."""
    made: dict[str, Written] = {}

    def export_xlnet(**config: Any) -> Written:
        name = repr(config)
        if name not in made:
            model, tokenizer = build_generative("xlnet", **config)
            folder: Path = tmp_path_factory.mktemp("xlnet") / "bundle"
            options: dict[str, Any] = {"task": "text-generation", "tokenizer": tokenizer}
            made[name] = (model, tokenizer, export(model, folder, **options, verify=False, progress=False))
        return made[name]

    return export_xlnet


def random_ids(model: Any, rows: int, length: int) -> Any:
    return np.random.default_rng(rows * length).integers(5, model.config.vocab_size, (rows, length))


def take(past: Any, rows: Any) -> Any:
    """What steps of ``generate`` keep, for other rows: as beam search has it."""
    return past | {"mems": [states[:, torch.from_numpy(rows)] for states in past["mems"]]}


@pytest.mark.parametrize("memory", ["the last states", "both", "more than were traced"])
def test_each_step_is_the_step_of_generate(memory: str, make: Callable[..., Written]) -> None:
    model, _, bundle = make(**MEMORIES[memory])
    decoder = load_decoder(bundle)
    assert isinstance(decoder, RecurrentGraph)
    for length in (1, 2, 9, 45):
        written = random_ids(model, 2, length)
        decoding, past, new = decoder.begin(written, np.ones_like(written)), None, written
        for step in range(STEPS):
            if step == 3:  # rows that move have their own states with them
                decoding.select(ROWS)
                written, new, past = written[ROWS], new[ROWS], take(past, ROWS)
            expected, past = generate_step(model, written, past)
            np.testing.assert_allclose(decoding.step(new), expected, rtol=1e-3, atol=1e-4)
            new = np.array([[5 + step], [9], [11 * step]])[: len(written)]
            written = np.concatenate([written, new], axis=1)


@pytest.mark.parametrize("memory", MEMORIES)
def test_as_many_states_are_kept_as_transformers_keeps(memory: str) -> None:
    model, _ = build_generative("xlnet", **MEMORIES[memory])
    config = model.config.to_dict()
    written = random_ids(model, 1, 4)
    past, kept = None, 0
    for _ in range(STEPS):
        _, past = generate_step(model, written, past)
        kept = count_kept(kept, 4 if written.shape[1] == 4 else 2, config)
        assert kept == max(past["mems"][0].shape[0] - 2, 0)
        written = np.concatenate([written, [[7]]], axis=1)


def test_scores_of_every_token_are_those_of_single_steps(make: Callable[..., Written]) -> None:
    model, _, bundle = make(mem_len=None)
    ids = random_ids(model, 2, 6)
    found = load_decoder(bundle).scores(ids, np.ones_like(ids))
    past, expected = None, []
    for length in range(1, 7):
        scores, past = generate_step(model, ids[:, :length], past)
        expected.append(scores)
    np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.* has no cache inputs")
def test_a_model_that_keeps_nothing_reads_the_whole_text_again(make: Callable[..., Written]) -> None:
    model, _, bundle = make(use_mems_eval=False)
    written = random_ids(model, 2, 3)
    decoding, past, new = load_decoder(bundle).begin(written, np.ones_like(written)), None, written
    for _ in range(3):
        expected, past = generate_step(model, written, past)
        np.testing.assert_allclose(decoding.step(new), expected, rtol=1e-3, atol=1e-4)
        new = expected.argmax(-1)[:, None]
        written = np.concatenate([written, new], axis=1)
