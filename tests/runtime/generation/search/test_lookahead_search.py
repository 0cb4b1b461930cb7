"""Lookahead changes no token, whatever the candidates and the options are, and takes fewer steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate, stream
from edgepipe.generation.logits.watermark_config import WatermarkingConfig
from edgepipe.generation.search.greedy_search import greedy_search
from edgepipe.generation.search.lookahead_search import CandidateCount, lookahead_search
from edgepipe.generation.stopping_criteria import StoppingCriteria
from tests.runtime.generation.models import ENDS, batch, model
from tests.runtime.generation.table_decoder import TableDecoder, draw_table, prompt_of
from tests.runtime.generation.torch_decoder import TorchDecoder

VOCABULARY = 11
NEW = 24


class Guesses:
    """Candidates that are right as often as wanted: those of a text that is known, with some tokens changed."""

    def __init__(self, text: list[int], wrong: list[bool], number: int) -> None:
        self._text = [(token + 1) % VOCABULARY if off else token for token, off in zip(text, wrong, strict=True)]
        self._number = number
        self.accepted: list[int] = []

    def propose(self, ids: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        start = len(ids) - 2
        return np.array(self._text[start : start + min(self._number, most)], np.int64)

    def learn(self, accepted: int) -> None:
        self.accepted.append(accepted)


def search_plainly(config: GenerationConfig, seed: int) -> list[int]:
    prompt = prompt_of([[1, 2]], 2 + NEW)
    stopping = StoppingCriteria(config, prompt.longest, None)
    steps = greedy_search(TableDecoder(draw_table(VOCABULARY, seed)), prompt, config, stopping, 0)
    return [int(tokens[0]) for _, tokens in steps]


def search_ahead(config: GenerationConfig, seed: int, guesses: Guesses) -> tuple[list[int], list[tuple[str, int]]]:
    prompt = prompt_of([[1, 2]], 2 + NEW)
    stopping = StoppingCriteria(config, prompt.longest, None)
    decoder = TableDecoder(draw_table(VOCABULARY, seed), joins=True)
    steps = lookahead_search(decoder, prompt, config, stopping, 0, guesses)
    return [int(tokens[0]) for _, tokens in steps], decoder.calls


OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "repetition_penalty": {"repetition_penalty": 1.3},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 2},
    "min_new_tokens": {"min_new_tokens": 9, "eos_token_id": (3, 5)},
    "several ends": {"eos_token_id": (4, 8, 10)},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": (3, 1.5), "eos_token_id": (4,)},
    "forced_eos_token_id": {"forced_eos_token_id": (7,)},
    "bad_words_ids": {"bad_words_ids": ((3,), (5, 6))},
    "sequence_bias": {"sequence_bias": (((3, 4), 5.0),)},
    "watermarking_config": {"watermarking_config": WatermarkingConfig()},
    "draws": {"do_sample": True, "seed": 5, "temperature": 1.5},
    "draws from the best": {"do_sample": True, "seed": 6, "top_k": 3, "top_p": 0.9, "repetition_penalty": 1.2},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@given(seed=st.integers(0, 30), number=st.integers(1, 9), wrong=st.lists(st.booleans(), min_size=NEW, max_size=NEW))
def test_no_token_changes(options: dict[str, Any], seed: int, number: int, wrong: list[bool]) -> None:
    config = GenerationConfig(**options)
    expected = search_plainly(config, seed)
    guesses = Guesses(expected, wrong[: len(expected)], number)
    found, calls = search_ahead(config, seed, guesses)
    assert found == expected
    # Every step gives a token, and one more for each candidate that was right.
    steps = [count for name, count in calls if name != "forget"]
    assert len(steps) + sum(guesses.accepted) <= len(found) <= len(steps) + sum(guesses.accepted) + number
    # Right guesses save steps, those too with which a text ends, of which nobody learns.
    assert len(steps) < len(found) or any(wrong) or len(found) < 3
    # The cache holds the tokens that were chosen, but for the last one.
    read = sum(count if name == "step_every" else 1 for name, count in calls if name in ("step", "step_every"))
    assert read - sum(count for name, count in calls if name == "forget") >= len(found)


def test_right_guesses_save_steps() -> None:
    config = GenerationConfig()
    expected = search_plainly(config, 0)
    found, calls = search_ahead(config, 0, Guesses(expected, [False] * NEW, 7))
    assert found == expected
    # One step for the prompt, and one for each 8 tokens; the last token is never read.
    assert calls == [("step", 1), ("step_every", 8), ("step_every", 8), ("step_every", 7)]


class Recorder:
    """A logits processor that remembers the tokens it was called with, and forbids what it has forbidden before."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        self.calls.append(ids[0].tolist())
        scores[0, len(self.calls) % VOCABULARY] = -np.inf
        return scores


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_processors_with_a_memory_are_called_as_without_lookahead(share: float) -> None:
    wrong = (np.random.default_rng(0).random(NEW) < share).tolist()
    plain, ahead = Recorder(), Recorder()
    expected = search_plainly(GenerationConfig(logits_processor=(plain,)), 3)
    found, _ = search_ahead(GenerationConfig(logits_processor=(ahead,)), 3, Guesses(expected, wrong, 5))
    assert found == expected
    assert ahead.calls == plain.calls
    assert [len(ids) for ids in ahead.calls] == list(range(2, 2 + NEW))


def test_a_stopping_criterion_sees_each_token_once() -> None:
    seen: list[int] = []

    def stop(ids: NDArray[np.int64], scores: None) -> NDArray[np.bool_]:
        seen.append(ids.shape[1])
        return np.array([ids.shape[1] == 12])

    config = GenerationConfig(stopping_criteria=(stop,))
    expected = search_plainly(GenerationConfig(), 1)
    found, _ = search_ahead(config, 1, Guesses(expected, [False] * NEW, 7))
    assert found == expected[:10]
    assert seen == list(range(3, 13))


COPYING = [[3, 4, 5, 6, 7, 8, 3, 4, 5, 6, 7, 8, 3, 4], [9, 9, 9, 9, 9, 9]]
SEARCHES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "ends": ENDS,
    "repetition_penalty": {"repetition_penalty": 1.4, **ENDS},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 3},
    "min_length": {"min_length": 20, **ENDS},
}


@pytest.mark.parametrize("options", SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_tokens_are_those_of_transformers(architecture: str, options: dict[str, Any]) -> None:
    prompts = [*COPYING, *(batch(architecture, (length,), length)[0][0].tolist() for length in (2, 5, 9))]
    ahead = {"prompt_lookup_num_tokens": 6, "max_matching_ngram_size": 3}
    for seed in range(3):
        made = model(architecture, seed)
        decoder = TorchDecoder(made)
        for prompt in prompts:
            ids = np.array([prompt])
            config = generation_config(decoder, {}, {"max_new_tokens": 32, **options, **ahead})
            ((found,),) = generate(decoder, ids, np.ones_like(ids), config)
            expected = made.generate(
                input_ids=torch.from_numpy(ids), max_new_tokens=32, do_sample=False, **options, **ahead
            )
            assert found.token_ids == expected[0, len(prompt) :].tolist()
    assert any(name == "step_every" for name, _ in decoder.calls)


def test_a_text_that_copies_takes_fewer_steps() -> None:
    decoder = TorchDecoder(model("gpt2"))
    ids = np.array([COPYING[1] * 3])
    plain = generation_config(decoder, {}, {"max_new_tokens": 60})
    ((expected,),) = generate(decoder, ids, np.ones_like(ids), plain)
    assert len(set(expected.token_ids[20:])) < 8, "a tiny model repeats itself"
    before = len(decoder.calls)
    config = generation_config(decoder, {}, {"max_new_tokens": 60, "prompt_lookup_num_tokens": 10})
    ((found,),) = generate(decoder, ids, np.ones_like(ids), config)
    assert found == expected
    steps = [name for name, _ in decoder.calls[before:] if name != "forget"]
    assert len(steps) < before / 2


def test_a_stream_gives_the_same_tokens() -> None:
    decoder = TorchDecoder(model("llama"))
    ids = np.array([COPYING[0]])
    config = generation_config(decoder, {}, {"max_new_tokens": 30, "prompt_lookup_num_tokens": 5})
    ((expected,),) = generate(decoder, ids, np.ones_like(ids), config)
    assert list(stream(decoder, ids, np.ones_like(ids), config)) == expected.token_ids


def test_several_rows_take_their_steps_without_lookahead() -> None:
    decoder = TorchDecoder(model("gpt2"))
    config = generation_config(decoder, {}, {"max_new_tokens": 8, "prompt_lookup_num_tokens": 5})
    generate(decoder, *batch("gpt2"), config)
    assert {name for name, _ in decoder.calls} <= {"step", "select"}


def test_a_row_that_is_to_pass_the_switch_takes_its_steps_without_lookahead() -> None:
    decoder = TorchDecoder(model("gpt2"))
    decoder.switch_length = 20
    ids = np.array([COPYING[1]])
    for new, ahead in ((15, True), (16, False)):
        decoder.calls.clear()
        config = generation_config(decoder, {}, {"max_new_tokens": new, "prompt_lookup_num_tokens": 5})
        generate(decoder, ids, np.ones_like(ids), config)
        assert any(name == "step_every" for name, _ in decoder.calls) is ahead


def test_a_text_that_does_not_copy_is_seldom_tried() -> None:
    count = CandidateCount(10)
    tried = []
    for _ in range(400):
        number = count.ask()
        tried.append(number)
        if number:
            count.learn(number, 0)
    assert sum(tried) < 20, "candidates that were read for nothing"
    assert sum(map(bool, tried)) < 18


def test_a_text_that_copies_is_tried_with_ever_more() -> None:
    count = CandidateCount(10)
    found = []
    for _ in range(4):
        found.append(count.ask())
        count.learn(found[-1], found[-1])
    assert found == [3, 6, 10, 10]
    count.learn(10, 4)
    assert count.ask() == 5, "half of the text was right: no pause"
    count.learn(5, 0)
    assert [count.ask(), count.ask()] == [0, 2], "one token without candidates"
