"""Which logits processors and warpers the options ask for, and in which order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig as Reference
from transformers import TypicalLogitsWarper

from edgepipe.generation.config import CHECKS, GenerationConfig
from edgepipe.generation.logits.logits_processor_list import (
    LOGITS_PROCESSORS,
    build_beam_warpers,
    build_logits_processors,
    build_sampling_warpers,
)
from edgepipe.generation.prompt import Prompt
from tests.runtime.generation.models import model
from tests.runtime.generation.table_decoder import prompt_of

VOCABULARY = 12
LONGEST = 12
ENDS = (5, 6)
PROMPT = prompt_of([[1, 2]], LONGEST)
# A value for each option that has a processor, and for each that has a warper.
PROCESSORS: dict[str, Any] = {
    "sequence_bias": [[[3], 1.0]],
    "encoder_repetition_penalty": 1.5,
    "repetition_penalty": 1.5,
    "no_repeat_ngram_size": 2,
    "encoder_no_repeat_ngram_size": 2,
    "bad_words_ids": [[4]],
    "min_length": 3,
    "min_new_tokens": 1,
    "prefix_allowed_tokens_fn": lambda item, ids: [3],
    "forced_bos_token_id": 7,
    "forced_eos_token_id": 5,
    "remove_invalid_values": True,
    "exponential_decay_length_penalty": (2, 1.1),
    "suppress_tokens": [8],
    "begin_suppress_tokens": [9],
    "logits_processor": [TypicalLogitsWarper(0.9)],
    "watermarking_config": {"bias": 1.0},
    "renormalize_logits": True,
}
WARPERS: dict[str, Any] = {
    "temperature": 0.5,
    "top_h": 0.4,
    "top_k": 3,
    "top_p": 0.5,
    "min_p": 0.1,
    "typical_p": 0.5,
    "epsilon_cutoff": 0.1,
    "eta_cutoff": 0.1,
}


def config_of(**options: Any) -> GenerationConfig:
    checked = {name: CHECKS[name](name, value) for name, value in options.items()}
    return GenerationConfig(**{"eos_token_id": ENDS, **checked})


def forbidden(config: GenerationConfig, *ids: int, prompt: Prompt = PROMPT) -> list[int]:
    """The tokens that cannot follow these."""
    scores = np.zeros((1, VOCABULARY), np.float32)
    for process in build_logits_processors(config, prompt):
        process(np.array([ids]), scores, np.arange(1))
    return np.flatnonzero(np.isneginf(scores[0])).tolist()


def classes(**options: Any) -> list[str]:
    """The classes that transformers takes for these options."""
    function = options.pop("prefix_allowed_tokens_fn", None)
    own = options.pop("logits_processor", None)
    config = Reference(max_length=LONGEST, eos_token_id=list(ENDS), num_beams=1, num_return_sequences=1, **options)
    config._eos_token_tensor = torch.tensor(ENDS)
    found = model("gpt2")._get_logits_processor(
        config,
        input_ids_seq_length=2,
        encoder_input_ids=torch.tensor([[1, 2]]),
        prefix_allowed_tokens_fn=function,
        logits_processor=own,
        device="cpu",
    )
    return [type(each).__name__ for each in found]


def test_processors_come_in_the_order_of_transformers() -> None:
    lacking = ("constraint", "diversity_penalty")  # which transformers 5 lacks
    assert next(iter(LOGITS_PROCESSORS)) == "constraint"
    ours = [option for option in LOGITS_PROCESSORS if option not in lacking]
    each = [classes(**{option: PROCESSORS[option]}) for option in ours]
    assert [len(found) for found in each] == [1] * len(PROCESSORS)
    assert classes(**PROCESSORS) == [name for found in each for name in found]


def test_warpers_come_in_the_order_of_transformers() -> None:
    ours = [warp.func.__name__ for warp in build_beam_warpers(config_of(**WARPERS, do_sample=True, num_beams=2))]  # type: ignore[attr-defined]
    assert sorted(ours) == sorted(WARPERS)
    # Of 50 tokens transformers' top-k keeps the best unless told otherwise.
    each = [classes(do_sample=True, **{"top_k": 0, option: WARPERS[option]}) for option in ours]
    assert [len(found) for found in each] == [1] * len(WARPERS)
    assert classes(do_sample=True, **WARPERS) == [name for found in each for name in found]


def test_without_options_nothing_is_changed() -> None:
    assert build_logits_processors(GenerationConfig(), PROMPT) == []
    assert build_sampling_warpers(GenerationConfig(do_sample=True)) == ([], [])


@pytest.mark.parametrize("num_beams", [1, 4])
def test_top_k_has_a_place_of_its_own(num_beams: int) -> None:
    before, after = build_sampling_warpers(config_of(**WARPERS, do_sample=True, num_beams=num_beams))
    names = [[warp.func.__name__ for warp in warpers] for warpers in (before, after)]  # type: ignore[attr-defined]
    assert names[0] + ["top_k"] + names[1] == [*WARPERS]


@pytest.mark.parametrize("ends", [(), (5,), (5, 6, 7)], ids=len)
def test_a_beam_keeps_a_token_to_go_on_with(ends: tuple[int, ...]) -> None:
    options = {**WARPERS, "top_k": 1, "top_p": 0.0, "top_h": None}  # top-h keeps no number of tokens
    config = GenerationConfig(**options, do_sample=True, num_beams=3, eos_token_id=ends)
    scores = np.arange(VOCABULARY, dtype=np.float32)[None] * 9
    for warp in build_beam_warpers(config):
        warp(scores)
    assert np.isfinite(scores).sum() == max(2, len(ends) + 1)


def test_the_new_tokens_go_before_the_length() -> None:
    config = config_of(min_length=9, min_new_tokens=1)
    assert forbidden(config, 1, 2) == [*ENDS]
    assert forbidden(config, 1, 2, 3) == []
    assert forbidden(config_of(min_length=4), 1, 2, 3) == [*ENDS]


def test_no_length_is_least_where_nothing_ends_a_text() -> None:
    assert build_logits_processors(GenerationConfig(min_length=9, min_new_tokens=3), PROMPT) == []


def test_bad_words_do_not_keep_a_text_from_ending() -> None:
    assert forbidden(config_of(bad_words_ids=[[5], [3], [2, 6]]), 1, 2) == [3, 6]
    assert build_logits_processors(config_of(bad_words_ids=[[5], [6]]), PROMPT) == []


def test_what_may_not_come_first_may_not_follow_a_forced_token() -> None:
    start = prompt_of([[1]], LONGEST)
    config = config_of(begin_suppress_tokens=[3])
    assert forbidden(config, 1, prompt=start) == [3]
    forced = config_of(begin_suppress_tokens=[3], forced_bos_token_id=7)
    assert forbidden(forced, 1, prompt=start) == [token for token in range(VOCABULARY) if token != 7]
    assert forbidden(forced, 1, 7, prompt=start) == [3]
    assert forbidden(forced, 1, 2) == [3], "after a longer prompt nothing is forced"


def test_groups_alone_are_kept_apart() -> None:
    assert build_logits_processors(config_of(diversity_penalty=1.0, num_beams=4), PROMPT) == []
    assert len(build_logits_processors(config_of(diversity_penalty=1.0, num_beams=4, num_beam_groups=2), PROMPT)) == 1


def test_draws_are_renormalized_after_the_warpers() -> None:
    assert len(build_logits_processors(config_of(renormalize_logits=True), PROMPT)) == 1
    assert build_logits_processors(config_of(renormalize_logits=True, do_sample=True), PROMPT) == []


def test_a_new_processor_is_one_class_and_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid_token(ids: Any, scores: Any, inputs: Any) -> None:
        scores[:, 3] = -np.inf

    prompt = Prompt(*[np.ones((1, 2), dtype=np.int64)] * 3, np.zeros(1, dtype=np.int64), LONGEST)
    monkeypatch.setitem(LOGITS_PROCESSORS, "seed", lambda config, prompt: forbid_token)
    assert build_logits_processors(GenerationConfig(), prompt) == []
    assert build_logits_processors(GenerationConfig(seed=1), prompt) == [forbid_token]


def test_a_processor_without_an_option_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = Prompt(*[np.ones((1, 2), dtype=np.int64)] * 3, np.zeros(1, dtype=np.int64), LONGEST)
    monkeypatch.setitem(LOGITS_PROCESSORS, "dummy", lambda config, prompt: None)
    with pytest.raises(LookupError, match=r"LOGITS_PROCESSORS has 'dummy'.*add a field of that name to GenerationConf"):
        build_logits_processors(GenerationConfig(), prompt)
