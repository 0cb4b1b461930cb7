"""What becomes of scores: the model's own opinion, rows that leave, and rows whose scores come from elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.search.token_choice import TokenChoice
from edgepipe.generation.stopping_criteria import StoppingCriteria
from edgepipe.numerics import log_softmax
from tests.runtime.generation.table_decoder import TableDecoder, draw_table, prompt_of

VOCABULARY = 11
PROMPTS = [[1, 2], [7, 3], [5, 5]]


def build(config: GenerationConfig, new: int = 5, logprobs: int | None = None) -> tuple[TableDecoder, TokenChoice]:
    decoder = TableDecoder(draw_table(VOCABULARY))
    prompt = prompt_of(PROMPTS, 2 + new)
    stopping = StoppingCriteria(config, prompt.longest, None)
    return decoder, TokenChoice(decoder, prompt, config, stopping, logprobs=logprobs)


def test_scores_from_elsewhere_are_chosen_from_as_those_of_a_step() -> None:
    config = GenerationConfig(do_sample=True, seed=4, repetition_penalty=1.2, num_return_sequences=2)
    decoder, own = build(config)
    _, other = build(config)
    ids = np.array(PROMPTS)
    decoding = decoder.begin(ids, np.ones_like(ids))
    last = ids
    for _ in range(4):
        tokens = own.advance(decoding, last)
        scores = decoder.table[other.sequences.ids].sum(axis=1)
        assert other.choose(scores).tolist() == tokens.tolist()
        assert own.append(tokens) is other.append(tokens) is None
        last = tokens[:, None]
    assert len(own.rows) == 6
    assert own.append(tokens).tolist() == []  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "likeliest"),
    [({}, True), ({"do_sample": True}, False), ({"suppress_tokens": (3,)}, False)],
    ids=["greedy", "sampling", "a processor"],
)
def test_scores_are_needed_where_more_than_the_best_counts(options: dict[str, Any], likeliest: bool) -> None:
    config = GenerationConfig(**options)
    assert build(config)[1].takes_likeliest is likeliest
    assert not build(config, logprobs=0)[1].takes_likeliest


def test_the_model_s_own_opinion_is_from_before_the_options_changed_it() -> None:
    _, choice = build(GenerationConfig(suppress_tokens=tuple(range(1, VOCABULARY))), logprobs=2)
    scores = draw_table(VOCABULARY)[[4, 5, 6]]
    expected = log_softmax(scores.copy())
    assert choice.choose(scores.copy()).tolist() == [0, 0, 0]
    for found, logarithms in zip(choice.logprobs, expected, strict=True):
        assert found.chosen == pytest.approx(logarithms[0])
        assert [token for token, _ in found.best] == np.argsort(-logarithms)[:2].tolist()
        assert [value for _, value in found.best] == pytest.approx(np.sort(logarithms)[:-3:-1].tolist())
    _, alone = build(GenerationConfig(), logprobs=0)
    alone.choose(scores)
    assert [found.best for found in alone.logprobs] == [(), (), ()]


def test_rows_that_end_leave_and_say_why() -> None:
    _, choice = build(GenerationConfig(eos_token_id=(4,)), new=2)
    kept = choice.append(np.array([4, 1, 2]))
    assert kept is not None
    assert kept.tolist() == [2, 1], "the last one fills the gap"
    assert choice.rows.tolist() == [2, 1]
    assert choice.ended.tolist() == [True, False, False]
    assert choice.sequences.ids.tolist() == [[5, 5, 2], [7, 3, 1]]
    kept = choice.append(np.array([4, 1]))
    assert kept is not None
    assert kept.size == 0
    assert choice.ended.tolist() == [True, False], "the second is at its greatest length"
