"""What an assistant guesses, and that the text is the model's own whatever it guesses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate, stream
from edgepipe.generation.search.assistant import AssistedCandidateGenerator
from tests.runtime.generation.models import ENDS, batch, model
from tests.runtime.generation.table_decoder import TableDecoder, draw_table, prompt_of
from tests.runtime.generation.torch_decoder import TorchDecoder

VOCABULARY = 11
SURE = {"assistant_confidence_threshold": 0.0}


def guess(assistant: TableDecoder, text: list[int], count: int) -> list[int]:
    """The likeliest tokens behind a text, one after another."""
    ids = list(text)
    for _ in range(count):
        ids.append(int(assistant.table[ids].sum(axis=0).argmax()))
    return ids[len(text) :]


@given(seed=st.integers(0, 50), accepted=st.lists(st.integers(0, 5), max_size=6))
def test_guesses_follow_the_text_however_much_of_them_is_taken_back(seed: int, accepted: list[int]) -> None:
    assistant = TableDecoder(draw_table(VOCABULARY, seed), joins=True)
    config = GenerationConfig(num_assistant_tokens=5, **SURE)
    candidates = AssistedCandidateGenerator(assistant, prompt_of([[1, 2]], 60), config)
    text = [1, 2, 3]
    for count in accepted:
        found = candidates.propose(np.array(text), 50).tolist()
        assert found == guess(assistant, text, len(found))
        if found:
            candidates.learn(min(count, len(found)))
            text += found[:count]
        # What comes next is the model's: another token than the one that was guessed.
        text.append((text[-1] + 1 + seed) % VOCABULARY)


def test_an_assistant_that_is_not_sure_stops() -> None:
    table = np.zeros((VOCABULARY, VOCABULARY), np.float32)
    table[1, 4] = 20
    table[4] = -table[1]
    table[4, 5] = 20
    table[5] = -table[1] - table[4]  # behind 1, 4, 5 all tokens are as likely
    candidates = AssistedCandidateGenerator(
        TableDecoder(table, joins=True), prompt_of([[1]], 60), GenerationConfig(assistant_confidence_threshold=0.4)
    )
    assert candidates.propose(np.array([1]), 50).tolist() == [4, 5]


def test_guesses_end_with_the_text() -> None:
    assistant = TableDecoder(draw_table(VOCABULARY), joins=True)
    (first,) = guess(assistant, [1, 2], 1)
    config = GenerationConfig(eos_token_id=(first,), **SURE)
    candidates = AssistedCandidateGenerator(assistant, prompt_of([[1, 2]], 60), config)
    assert candidates.propose(np.array([1, 2]), 50).tolist() == [first]


def test_an_assistant_reads_no_more_than_it_takes() -> None:
    assistant = TableDecoder(draw_table(VOCABULARY), joins=True)
    assistant.max_length = 5  # type: ignore[assignment]
    candidates = AssistedCandidateGenerator(assistant, prompt_of([[1, 2]], 60), GenerationConfig(**SURE))
    for length, number in ((3, 3), (4, 2), (5, 1), (6, 0), (9, 0)):
        assert candidates.propose(np.arange(length), 50).size == number
    assert candidates.propose(np.arange(3), 1).size == 1


def test_guesses_are_bent_as_the_scores_are_and_functions_are_not_asked() -> None:
    def fail(*arguments: Any) -> Any:
        raise AssertionError(arguments)

    assistant = TableDecoder(draw_table(VOCABULARY), joins=True)
    config = GenerationConfig(no_repeat_ngram_size=1, logits_processor=(fail,), prefix_allowed_tokens_fn=fail, **SURE)
    candidates = AssistedCandidateGenerator(assistant, prompt_of([[1, 2]], 60), config)
    found = candidates.propose(np.array([1, 2]), 50).tolist()
    assert len(found) == len({1, 2, *found}) - 2 == 3


SEARCHES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "ends": ENDS,
    "repetition_penalty": {"repetition_penalty": 1.4},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 2},
    "min_length": {"min_length": 20, **ENDS},
    "draws": {"do_sample": True, "seed": 3},
}


@pytest.mark.parametrize("options", SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize("other", ["itself", "another"])
def test_the_text_is_the_models_own(options: dict[str, Any], other: str) -> None:
    made, guesser = model("llama"), model("llama") if other == "itself" else model("gpt2", 1)
    for length in (1, 6):
        ids, mask = batch("llama", (length,), length)
        config = generation_config(TorchDecoder(made), {}, {"max_new_tokens": 24, **options, **SURE})
        expected = generate(TorchDecoder(made), ids, mask, config)
        decoder, assistant = TorchDecoder(made), TorchDecoder(guesser)
        assert generate(decoder, ids, mask, config, assistant=assistant) == expected
        assert list(stream(TorchDecoder(made), ids, mask, config, assistant=TorchDecoder(guesser))) == (
            expected[0][0].token_ids
        )
        if not config.do_sample:
            reference = made.generate(
                input_ids=torch.from_numpy(ids),
                attention_mask=torch.from_numpy(mask),
                assistant_model=guesser,
                max_new_tokens=24,
                do_sample=False,
                **{name: value for name, value in options.items() if name != "seed"},
            )
            assert reference[0, length:].tolist() == expected[0][0].token_ids
        if other == "itself" and not config.do_sample:
            steps = [name for name, _ in decoder.calls if name != "forget"]
            assert len(steps) <= len(expected[0][0].token_ids) / 2 + 2, "all guesses are right"


def test_draws_have_the_distribution_that_they_have_alone() -> None:
    decoder = TableDecoder(draw_table(VOCABULARY) / 2, joins=True)
    assistant = TableDecoder(draw_table(VOCABULARY, 9) / 2, joins=True)
    ids = np.array([[1, 2]])
    config = GenerationConfig(do_sample=True, max_new_tokens=3, num_assistant_tokens=3, **SURE)
    draws = 3000
    counts = np.zeros((VOCABULARY, VOCABULARY))
    for seed in range(draws):
        ((found,),) = generate(decoder, ids, np.ones_like(ids), replace(config, seed=seed), assistant=assistant)
        counts[found.token_ids[0], found.token_ids[1]] += 1
    assert any(name == "step_every" for name, _ in decoder.calls)
    first = softmax(decoder.table[[1, 2]].sum(axis=0))
    both = first[:, None] * np.stack([softmax(decoder.table[[1, 2, token]].sum(axis=0)) for token in range(VOCABULARY)])
    assert distance(counts, both) < 1.5
    # It can fail: draws that take the guess where it is likelier than one in five have another distribution.
    guesses = [int(assistant.table[[1, 2, token]].sum(axis=0).argmax()) for token in range(VOCABULARY)]
    for token, guessed in enumerate(guesses):
        counts[token, guessed] += counts[token].sum() / 5
    assert distance(counts, both) > 3


def softmax(scores: Any) -> Any:
    exponentials = np.exp(scores - scores.max())
    return exponentials / exponentials.sum()


def distance(counts: Any, probabilities: Any) -> float:
    """Pearson's statistic for each degree of freedom; 1 is expected. Pairs that are seldom drawn count as one."""
    expected = probabilities * counts.sum()
    often = expected >= 5
    seen = np.append(counts[often], counts[~often].sum())
    wanted = np.append(expected[often], expected[~often].sum())
    return float(((seen - wanted) ** 2 / wanted).sum() / (len(wanted) - 1))
