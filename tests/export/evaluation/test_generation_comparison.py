"""Comparison of models that generate: with PyTorch, with themselves, and with another model."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepipe import Bundle, Tokenizer
from edgepipe.errors import InputError
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.checks import PYTORCH
from edgepipe_export.evaluation.generation_comparison import GenerationComparison
from edgepipe_export.evaluation.predictors import VariantLanguageModel
from edgepipe_export.evaluation.tolerances import Tolerance
from tests.tiny import LIMIT
from tests.tiny.generative import DECODERS, build_generative

TEXTS = ("Hello there, my friend", "The 2nd of May", "a", "What a waste of time. I want my money back")
FAMILIES = ("gpt2", "bart")

Writer = Callable[[str], tuple[Any, Any, Bundle]]


def compare(
    bundle: Bundle, model: Any, tokenizer: Any, texts: tuple[str, ...] = TEXTS, new_tokens: int | None = None
) -> GenerationComparison:
    task = "text-generation" if model.config.model_type in DECODERS else "text2text-generation"
    loaded = load(resolve(Request(model, task, tokenizer)))
    return GenerationComparison(bundle, loaded, Tokenizer.from_pretrained(bundle.path), texts, new_tokens=new_tokens)


@pytest.mark.parametrize("family", FAMILIES)
def test_fp32_must_give_the_logits_and_tokens_of_pytorch(family: str, writer: Writer) -> None:
    model, tokenizer, bundle = writer(family)
    comparison = compare(bundle, model, tokenizer)
    steps, tokens = comparison.check("fp32", PYTORCH, Tolerance())
    assert (steps.check, tokens.check) == ("tensors, step by step", "tokens, greedy search")
    assert steps.passed
    assert tokens.passed
    assert (tokens.agreement, tokens.detail) == (1.0, None)
    assert (comparison.texts, comparison.count_steps("fp32")) == (TEXTS, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_another_model_is_told_apart_and_the_first_text_is_shown(family: str, writer: Writer) -> None:
    _, _, bundle = writer(family)
    steps, tokens = compare(bundle, *build_generative(family, seed=1)).check("fp32", PYTORCH, Tolerance())
    assert not steps.passed
    assert not tokens.passed
    assert tokens.agreement is not None
    assert tokens.agreement < 1
    assert tokens.detail is not None
    assert "after [" in tokens.detail
    assert "] instead of [" in tokens.detail


def test_others_are_decided_by_their_perplexity(writer: Writer) -> None:
    model, tokenizer, bundle = writer("gpt2")
    comparison = compare(bundle, model, tokenizer)
    [check] = comparison.measure("fp32", "fp32", Tolerance())
    assert (check.check, check.passed, check.differences) == ("perplexity", True, {"logits": 0.0})
    [beside] = comparison.measure("fp32", PYTORCH, Tolerance())
    assert beside.reference == PYTORCH
    assert beside.figures["perplexity"] == pytest.approx(check.figures["perplexity"], rel=1e-3)


def test_nothing_is_calibrated_so_both_distances_are_one(writer: Writer) -> None:
    model, tokenizer, bundle = writer("gpt2")
    comparison = compare(bundle, model, tokenizer)
    assert comparison.calibration_distance("fp32", bundle) == comparison.distance("fp32", bundle) == 0


def test_texts_of_one_token_tell_nothing(writer: Writer) -> None:
    model, tokenizer, bundle = writer("gpt2")
    assert len(tokenizer("a")["input_ids"]) == 1
    with pytest.raises(InputError, match="none of the texts has two tokens"):
        compare(bundle, model, tokenizer, ("a", ""))
    [check] = compare(bundle, model, tokenizer, ("a", *TEXTS[:1])).measure("fp32", "fp32", Tolerance())
    assert check.compared == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_random_prompts_are_padded_as_the_model_wants_it(family: str, writer: Writer) -> None:
    model, tokenizer, bundle = writer(family)
    prompts = list(compare(bundle, model, tokenizer)._random_prompts())
    assert [ids.shape for ids, _, _ in prompts] == [(1, 1), (1, 2), (3, 7), (2, 31)]
    _, mask, following = prompts[2]
    padded = mask[2] if family in DECODERS else mask[2, ::-1]
    assert padded.tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert all(np.array_equal(again, ids) for (again, _, _), (ids, _, _) in zip(
        compare(bundle, model, tokenizer)._random_prompts(), prompts, strict=True
    ))  # fmt: skip
    if family not in DECODERS:
        assert set(following[:, 0]) == {model.generation_config.decoder_start_token_id}


def test_prompts_leave_room_for_the_steps(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer, bundle = writer("gpt2")
    comparison = compare(bundle, model, tokenizer)
    assert comparison._longest == LIMIT
    monkeypatch.setattr(comparison, "_longest", 10)
    assert [ids.shape for ids, _, _ in comparison._random_prompts()] == [(1, 1), (1, 2), (3, 7)]


def test_searches_are_timed(writer: Writer) -> None:
    model, tokenizer, bundle = writer("gpt2")
    assert compare(bundle, model, tokenizer).timed_run("fp32", bundle)() == 3, "of one token nothing is measured"


@pytest.mark.parametrize("family", FAMILIES)
def test_requests_that_are_timed_are_as_long_as_the_data_say(
    family: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer, bundle = writer(family)
    lengths = {len(tokenizer(text)["input_ids"]) for text in TEXTS[:2]}
    seen = []
    generate = VariantLanguageModel.generate

    def record(self: VariantLanguageModel, ids: Any, count: int, *, least: int = 0) -> list[int]:
        tokens = generate(self, ids, count, least=least)
        seen.append((len(ids), len(tokens) - (family not in DECODERS)))  # the decoder's start is among them
        return tokens

    monkeypatch.setattr(VariantLanguageModel, "generate", record)
    run = compare(bundle, model, tokenizer, TEXTS[:2], new_tokens=7).timed_run("fp32", bundle)
    assert run() == 2
    assert {prompt for prompt, _ in seen} == lengths
    assert {new for _, new in seen} == {7}, "also where the text would end before"


@pytest.mark.parametrize(
    ("words", "new_tokens", "expected"),
    [
        pytest.param(4, None, (8, 4, 20), id="short"),
        pytest.param(4, 50, (3, 4, 50), id="much-is-written"),
        pytest.param(4, 100, (2, 4, 64), id="more-is-written-than-fits"),
        pytest.param(600, 20, (8, 108, 20), id="long-prompts-are-cut"),
    ],
)
def test_fewer_requests_are_timed_where_they_are_long(
    words: int, new_tokens: int | None, expected: tuple[int, int, int], writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer, bundle = writer("gpt2")
    comparison = compare(bundle, model, tokenizer, new_tokens=new_tokens)
    monkeypatch.setattr(comparison, "_whole", [np.ones(words, np.int64)] * 20)
    monkeypatch.setattr(comparison, "_bundle", SimpleNamespace(max_length=128, max_target_length=None))
    prompts, new = comparison._plan_requests()
    assert (len(prompts), len(prompts[0]), new) == expected


def test_few_long_prompts_are_timed_where_the_model_takes_them(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer, bundle = writer("gpt2")
    comparison = compare(bundle, model, tokenizer)
    monkeypatch.setattr(comparison, "_whole", [np.ones(512, np.int64)] * 20)
    monkeypatch.setattr(comparison, "_bundle", SimpleNamespace(max_length=None, max_target_length=None))
    prompts, new = comparison._plan_requests()
    assert ([len(ids) for ids in prompts], new) == ([512] * 4, 20)
