"""Each logits processor and warper against the class of transformers that its docstring names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WatermarkingConfig
from transformers.generation import logits_process as reference

from edgepipe.errors import InputError
from edgepipe.generation.config import CHECKS, GenerationConfig
from edgepipe.generation.logits import logits_warpers as warpers
from edgepipe.generation.logits.logits_processor_list import LOGITS_PROCESSORS, build_logits_processors
from edgepipe.generation.logits.logits_processors import CustomLogitsProcessors, PrefixConstrainedLogitsProcessor
from edgepipe.generation.prompt import Prompt

VOCABULARY = 23
LONGEST = 12
TOKENS = st.integers(0, VOCABULARY - 1)
SOME = st.lists(TOKENS, min_size=1, max_size=4, unique=True)
WORDS = st.lists(st.lists(TOKENS, min_size=1, max_size=3), min_size=1, max_size=6)


def bias_pairs(words: list[list[int]]) -> list[Any]:
    return [[word, 1.5 - rank] for rank, word in enumerate(words)]


def _allow_some(item: int, ids: Any) -> list[int]:
    """What may follow depends on the input and on its tokens."""
    return [item, int(ids[-1]), (3 * len(ids)) % VOCABULARY]


def _halve(ids: Any, scores: Any) -> Any:
    """Half of each score; arrays and tensors alike."""
    return scores * 0.5


def _prefer_the_last(ids: Any, scores: Any) -> Any:
    """The last token again."""
    return scores + (ids[:, -1:] % 3) * 1.5


def tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array))


# For each option its values, and what transformers makes of one, given the prompt.
PROCESSORS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any, Prompt], Any]]] = {
    "sequence_bias": (WORDS.map(bias_pairs), lambda value, _: reference.SequenceBiasLogitsProcessor(value)),
    "encoder_repetition_penalty": (
        st.sampled_from([0.5, 1.3, 2.0]),
        lambda value, prompt: reference.EncoderRepetitionPenaltyLogitsProcessor(value, tensor(prompt.input_ids)),
    ),
    "repetition_penalty": (
        st.sampled_from([0.5, 1.3, 2.0]),
        lambda value, prompt: reference.RepetitionPenaltyLogitsProcessor(
            value, prompt_ignore_length=tensor(prompt.padding)
        ),
    ),
    "no_repeat_ngram_size": (st.integers(1, 4), lambda value, _: reference.NoRepeatNGramLogitsProcessor(value)),
    "encoder_no_repeat_ngram_size": (
        st.integers(1, 4),
        lambda value, prompt: reference.EncoderNoRepeatNGramLogitsProcessor(value, tensor(prompt.input_ids)),
    ),
    "bad_words_ids": (
        # Some word besides the end token, or transformers has nothing left.
        WORDS.map(lambda words: [*words, [0, 1]]),
        lambda value, _: reference.NoBadWordsLogitsProcessor(value, [5, 6]),
    ),
    "min_length": (st.integers(1, LONGEST), lambda value, _: reference.MinLengthLogitsProcessor(value, [5, 6])),
    "min_new_tokens": (
        st.integers(1, LONGEST),
        lambda value, prompt: reference.MinNewTokensLengthLogitsProcessor(prompt.length, value, [5, 6]),
    ),
    "prefix_allowed_tokens_fn": (
        st.sampled_from([_allow_some, lambda item, ids: np.array([item, 7])]),
        lambda value, _: reference.PrefixConstrainedLogitsProcessor(value, 1),
    ),
    "logits_processor": (
        st.sampled_from([[_halve], [_halve, _prefer_the_last]]),
        lambda value, _: reference.LogitsProcessorList(value),
    ),
    "watermarking_config": (
        st.sampled_from([{"bias": 3.0}, {"greenlist_ratio": 0.6, "hashing_key": 5}]),
        lambda value, prompt: WatermarkingConfig(**value).construct_processor(VOCABULARY, "cpu"),
    ),
    "forced_bos_token_id": (TOKENS, lambda value, _: reference.ForcedBOSTokenLogitsProcessor(value)),
    "forced_eos_token_id": (SOME, lambda value, prompt: reference.ForcedEOSTokenLogitsProcessor(prompt.longest, value)),
    "remove_invalid_values": (st.just(True), lambda _, __: reference.InfNanRemoveLogitsProcessor()),
    "exponential_decay_length_penalty": (
        st.tuples(st.integers(0, 4), st.sampled_from([0.8, 1.1, 2.0])),
        lambda value, prompt: reference.ExponentialDecayLengthPenalty(value, [5, 6], prompt.length),
    ),
    "suppress_tokens": (SOME, lambda value, _: reference.SuppressTokensLogitsProcessor(value)),
    "begin_suppress_tokens": (
        SOME,
        lambda value, prompt: reference.SuppressTokensAtBeginLogitsProcessor(value, prompt.length),
    ),
    "renormalize_logits": (st.just(True), lambda _, __: reference.LogitNormalization()),
}


def scores_of(draw: Any, rows: int, invalid: bool = False) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Scores with some that are equal, some forbidden, and, where wanted, some invalid."""
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    scores = generator.normal(scale=4, size=(rows, VOCABULARY)).round(1).astype(np.float32)
    scores[generator.random(scores.shape) < 0.15] = -np.inf
    if invalid:
        scores[generator.random(scores.shape) < 0.1] = np.nan
        scores[generator.random(scores.shape) < 0.1] = np.inf
    return scores


@pytest.mark.parametrize("option", PROCESSORS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_processor_does_what_that_of_transformers_does(option: str, data: st.DataObject) -> None:
    values, make = PROCESSORS[option]
    value = data.draw(values)
    rows, length = data.draw(st.integers(1, 3)), data.draw(st.integers(1, LONGEST - 1))
    generator = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    # Few different tokens, so that runs of them occur again.
    ids = generator.integers(0, data.draw(st.sampled_from([3, VOCABULARY])), (rows, length))
    encoder_ids = generator.integers(0, data.draw(st.sampled_from([3, VOCABULARY])), (rows, 6))
    padding = generator.integers(0, length, rows)
    start = ids[:, : data.draw(st.integers(1, length))]
    prompt = Prompt(encoder_ids, np.ones_like(encoder_ids), start, padding, LONGEST, VOCABULARY)
    checked = CHECKS[option](option, value)
    config = GenerationConfig(**{"eos_token_id": (5, 6), option: checked})
    (process,) = build_logits_processors(config, prompt)
    scores = scores_of(data.draw, rows, invalid=option == "remove_invalid_values")
    expected = make(value, prompt)(tensor(ids), tensor(scores.copy())).numpy()
    process(ids, scores, np.arange(rows))
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-6)


WARPERS: dict[str, tuple[list[Any], Callable[[Any, int], Any], bool]] = {
    "temperature": ([0.3, 1.7], lambda value, keep: reference.TemperatureLogitsWarper(value), False),
    "top_h": ([0.1, 0.4, 0.8], lambda value, keep: reference.TopHLogitsWarper(value), False),
    "top_k": ([1, 3, 200], lambda value, keep: reference.TopKLogitsWarper(value, min_tokens_to_keep=keep), True),
    "top_p": (
        [0.0, 0.2, 0.7, 0.95, 0.999],
        lambda value, keep: reference.TopPLogitsWarper(value, min_tokens_to_keep=keep),
        True,
    ),
    "min_p": (
        [0.0, 0.05, 0.5, 1.0],
        lambda value, keep: reference.MinPLogitsWarper(value, min_tokens_to_keep=keep),
        True,
    ),
    "typical_p": (
        [0.05, 0.5, 0.9, 0.999],
        lambda value, keep: reference.TypicalLogitsWarper(value, min_tokens_to_keep=keep),
        True,
    ),
    "epsilon_cutoff": (
        [0.001, 0.05, 0.9],
        lambda value, keep: reference.EpsilonLogitsWarper(value, min_tokens_to_keep=keep),
        True,
    ),
    "eta_cutoff": (
        [0.001, 0.05, 0.9],
        lambda value, keep: reference.EtaLogitsWarper(value, min_tokens_to_keep=keep),
        True,
    ),
}


@pytest.mark.parametrize("name", WARPERS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_warper_keeps_what_that_of_transformers_keeps(name: str, data: st.DataObject) -> None:
    values, make, has_keep = WARPERS[name]
    value = data.draw(st.sampled_from(values))
    keep = data.draw(st.sampled_from([1, 3])) if has_keep else 1
    generator = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    # No two alike: transformers keeps any of those that are.
    scores = generator.normal(scale=data.draw(st.sampled_from([0.2, 2.0, 6.0])), size=(2, 300)).astype(np.float32)
    if data.draw(st.booleans()):
        scores[:, ::3] = -np.inf

    def warp(scores: np.ndarray) -> np.ndarray:
        return make(value, keep)(None, tensor(scores.copy())).numpy()

    expected, given = warp(scores), scores.copy()
    getattr(warpers, name)(scores, value, *([keep] if has_keep else []))
    if not np.array_equal(np.isfinite(scores), np.isfinite(expected)):
        # Only where rounding decides in transformers as well: scores that differ in the fifth digit have other tokens.
        near = [given * (1 + generator.uniform(-1e-5, 1e-5, given.shape).astype(np.float32)) for _ in range(30)]
        assert any(np.array_equal(np.isfinite(scores), np.isfinite(warp(other))) for other in near)
    else:
        np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-6)


def test_tokens_that_the_model_does_not_have_are_an_error_or_no_matter() -> None:
    ids = np.array([[1, 2, VOCABULARY + 3, 1]])
    prompt = Prompt(ids, np.ones_like(ids), ids, np.zeros(1, dtype=np.int64), longest=LONGEST)
    for config in (
        GenerationConfig(repetition_penalty=1.5),
        GenerationConfig(no_repeat_ngram_size=1),
        GenerationConfig(encoder_no_repeat_ngram_size=1),
        GenerationConfig(suppress_tokens=(1, 2, VOCABULARY)),
        GenerationConfig(min_length=9, eos_token_id=(1, 2, VOCABULARY)),
    ):
        (process,) = build_logits_processors(config, prompt)
        scores = np.ones((1, VOCABULARY), dtype=np.float32)
        process(ids, scores, np.arange(1))
        assert np.flatnonzero(scores[0] != 1).tolist() == [1, 2]
    for wrong, name in (
        (GenerationConfig(bad_words_ids=((4, VOCABULARY),)), "bad_words_ids"),
        (GenerationConfig(forced_eos_token_id=(VOCABULARY,)), "forced_eos_token_id"),
    ):
        (process,) = build_logits_processors(wrong, prompt)
        with pytest.raises(InputError, match=f"{name} has {VOCABULARY}, the model's last token is {VOCABULARY - 1}"):
            process(ids, np.ones((1, VOCABULARY), dtype=np.float32), np.arange(1))


def test_every_entry_has_a_reference() -> None:
    # Groups of beams have their own tests beside transformers: `search/test_diverse_beam_search.py`. Constraints, which
    # transformers has not, are compared with all texts there are: `constraints/test_constraint_processor.py`.
    assert {*LOGITS_PROCESSORS} == {*PROCESSORS, "diversity_penalty", "constraint"}


@pytest.mark.parametrize("allowed", [[], [VOCABULARY], [-1], ["a"], 3.5])
def test_a_function_must_allow_tokens(allowed: Any) -> None:
    process = PrefixConstrainedLogitsProcessor(lambda item, ids: allowed)
    scores = np.zeros((1, VOCABULARY), np.float32)
    with pytest.raises(InputError, match=f"must return token ids below {VOCABULARY}, at least one, got .* for input 0"):
        process(np.array([[1]]), scores, np.arange(1))


@pytest.mark.parametrize("process", [lambda ids, scores: scores[:, 1:], lambda ids, scores: None])
def test_a_processor_of_one_s_own_must_return_scores(process: Any) -> None:
    scores = np.zeros((2, VOCABULARY), np.float32)
    with pytest.raises(InputError, match=rf"a logits_processor must return numbers of shape \(2, {VOCABULARY}\)"):
        CustomLogitsProcessors([process])(np.array([[1], [2]]), scores, np.arange(2))
