"""The candidates of a step beside a list of all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.search.beam_candidates import NEVER, Candidates
from edgepipe.numerics import log_softmax
from tests.runtime.generation.table_decoder import TableDecoder, draw_table, prompt_of

VOCABULARY = 7
WIDTH = 2
TABLE = draw_table(VOCABULARY)
# Two inputs with two beams each.
IDS = np.array([[1, 2], [1, 3], [4, 4], [0, 6]])
ITEMS = np.array([0, 1])
RUNNING = np.array([[-0.5, -1.0], [-2.0, -0.1]], np.float32)


def advance(
    config: GenerationConfig, *, on_device: bool = False, first_row: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], list[tuple[str, int]]]:
    """The candidates of a step of four beams, and what the decoder was asked for."""
    decoder = TableDecoder(TABLE, on_device=on_device)
    decoding = decoder.begin(IDS, np.ones_like(IDS))
    found = Candidates(decoding, prompt_of(IDS[::WIDTH], 9), config, first_row).advance(IDS, IDS, ITEMS, RUNNING.copy())
    return (*found, decoder.calls)


def every_total() -> NDArray[np.float32]:
    """The totals of all that could follow, float32[inputs, beams, vocabulary]."""
    scores = log_softmax(TABLE[IDS].sum(axis=1))
    totals: NDArray[np.float32] = scores.reshape(len(ITEMS), WIDTH, VOCABULARY) + RUNNING[:, :, None]
    return totals


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("ends", [(), (5,), (5, 6, 0)], ids=len)
def test_the_best_of_all_that_could_follow(ends: tuple[int, ...], on_device: bool) -> None:
    config = GenerationConfig(num_beams=WIDTH, eos_token_id=ends)
    totals, tokens, parents, calls = advance(config, on_device=on_device)
    # Even if every end token were the best there is a beam to go on with.
    assert totals.shape[1] == max(2, 1 + len(ends)) * WIDTH
    for item, all_totals in enumerate(every_total()):
        order = np.argsort(-all_totals, axis=None)[: totals.shape[1]]
        beams, expected = np.unravel_index(order, all_totals.shape)
        assert tokens[item].tolist() == expected.tolist()
        assert parents[item].tolist() == (beams + item * WIDTH).tolist()
        np.testing.assert_allclose(totals[item], all_totals.ravel()[order], rtol=1e-5)
    assert calls == [("top_k" if on_device else "step", 4)]


@pytest.mark.parametrize("on_device", [False, True])
def test_at_the_first_step_an_input_has_one_row(on_device: bool) -> None:
    prompt = IDS[::WIDTH]
    decoder = TableDecoder(TABLE, on_device=on_device)
    config = GenerationConfig(num_beams=WIDTH)
    candidates = Candidates(decoder.begin(prompt, np.ones_like(prompt)), prompt_of(prompt, 9), config, 0)
    running = np.full((2, WIDTH), NEVER, np.float32)
    running[:, 0] = 0
    totals, tokens, parents = candidates.advance(prompt, np.repeat(prompt, WIDTH, axis=0), ITEMS, running)
    assert parents.tolist() == [[0] * 4, [WIDTH] * 4], "all follow the beam that counts"
    best = np.argsort(-TABLE[prompt].sum(axis=1), axis=1)[:, :4]
    assert tokens.tolist() == best.tolist()
    assert (totals > NEVER / 2).all()


@pytest.mark.parametrize("options", [{"suppress_tokens": (2, 3)}, {"no_repeat_ngram_size": 1}], ids=str)
def test_what_a_processor_forbids_is_no_candidate(options: dict[str, Any]) -> None:
    config = GenerationConfig(num_beams=WIDTH, **options)
    _, tokens, parents, calls = advance(config, on_device=True)
    assert calls == [("step", 4)], "processors need all scores"
    forbidden = options.get("suppress_tokens")
    for token, parent in zip(tokens.ravel(), parents.ravel(), strict=True):
        assert token not in (IDS[parent] if forbidden is None else forbidden)


SAMPLE: dict[str, Any] = {"num_beams": WIDTH, "do_sample": True, "seed": 3, "top_k": 0}


@pytest.mark.parametrize("on_device", [False, True])
def test_drawn_candidates_differ_and_have_their_own_totals(on_device: bool) -> None:
    totals, tokens, parents, calls = advance(GenerationConfig(**SAMPLE, temperature=2.0), on_device=on_device)
    assert calls == [("step", 4)]
    expected = log_softmax(TABLE[IDS].sum(axis=1)) / 2 + RUNNING.reshape(-1, 1)
    np.testing.assert_allclose(totals, expected[parents, tokens], rtol=1e-5)
    assert all(len({*zip(*pair, strict=True)}) == 4 for pair in zip(tokens.tolist(), parents.tolist(), strict=True))


def test_draws_depend_on_the_place_of_the_input() -> None:
    config = GenerationConfig(**SAMPLE)
    decoder = TableDecoder(TABLE)
    second = Candidates(
        decoder.begin(IDS[WIDTH:], np.ones_like(IDS[WIDTH:])), prompt_of(IDS[WIDTH::WIDTH], 9), config, 1
    )
    _, tokens, parents = second.advance(IDS[WIDTH:], IDS[WIDTH:], np.array([0]), RUNNING[1:].copy())
    together = advance(config)
    assert tokens[0].tolist() == together[1][1].tolist()
    assert (parents[0] + WIDTH).tolist() == together[2][1].tolist()
    assert advance(config, first_row=1)[1].tolist() != together[1].tolist()


def test_renormalized_scores_of_draws_are_log_probabilities() -> None:
    config = GenerationConfig(**SAMPLE | {"top_k": 3}, renormalize_logits=True)
    totals, _, parents, _ = advance(config)
    for item in ITEMS:
        # Of each beam three tokens are left, and four of the six are drawn.
        shares = np.exp(totals[item] - RUNNING.ravel()[parents[item]])
        by_beam = [shares[parents[item] == beam + item * WIDTH] for beam in range(WIDTH)]
        assert all(share.sum() == pytest.approx(1) for share in by_beam if len(share) == 3)
        assert all(share.sum() < 1 for share in by_beam if 0 < len(share) < 3)
