"""fill-mask beside transformers: frozen answers and live ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe.errors import InputError
from tests.conftest import Exported
from tests.golden import prove
from tests.golden.suites import golden, suite

TASK = "fill-mask"
every_model = prove.parametrized(TASK)


def filler(tiny_export: Callable[..., Exported], **options: Any) -> Any:
    return pipeline(TASK, tiny_export("bert", **suite(TASK).build_arguments("bert", TASK)).bundle, **options)


@every_model
def test_the_golden_file_has_today_s_cases(architecture: str, model: str) -> None:
    prove.prove_cases(TASK, architecture, model)


@every_model
@pytest.mark.filterwarnings("ignore:the (vocabulary has no|target)")
def test_as_frozen(architecture: str, model: str, tiny_export: Callable[..., Exported]) -> None:
    prove.prove_frozen(TASK, architecture, model, tiny_export)


@pytest.mark.filterwarnings("ignore:the (vocabulary has no|target)")
def test_as_transformers_answers_here(tiny_export: Callable[..., Exported]) -> None:
    prove.prove_live(TASK, "bert", TASK, tiny_export)


def test_the_frozen_answers_differ() -> None:
    for architecture in suite(TASK).models:
        found = [case["result"] for case in golden(TASK, architecture)["cases"] if " in: " in case["name"]]
        assert len({tuple(proposal["token"] for proposal in result) for result in found}) > 3, architecture
        assert len({round(result[0]["score"], 3) for result in found}) > len(found) // 2, architecture


def test_targets_outside_the_vocabulary_are_said(tiny_export: Callable[..., Exported]) -> None:
    fill = filler(tiny_export)
    with pytest.warns(UserWarning, match="the vocabulary has no 'antidisestablishment'; '.+' is used in its place"):
        fill("a [MASK]", targets=["antidisestablishment"])
    with pytest.warns(UserWarning, match="the target '' has no token"):
        fill("a [MASK]", targets=["", "a"])


def test_a_long_text_is_cut_where_transformers_raises(tiny_export: Callable[..., Exported]) -> None:
    fill = filler(tiny_export, top_k=1)
    text = "[MASK] and" + " so on" * 100
    assert fill(text) == fill(text, tokenizer_kwargs={"truncation": True})
    with pytest.raises(InputError, match=r"no mask token '\[MASK\]' \(within the model's limit\)"):
        fill("so on " * 100 + "[MASK]")


def test_only_what_a_mask_needs_is_kept(tiny_export: Callable[..., Exported], monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of a whole vocabulary for every token of a window of texts would be gigabytes."""
    fill = filler(tiny_export, batch_size=4)
    request = fill.encode("one two [MASK] three", fill.settings({}))
    [[outputs]] = fill.run_lists(fill.run_batch, [request.pieces], 4)
    vocabulary = len(fill.tokenizer)
    assert outputs["logits"].shape == (1, vocabulary)
    assert outputs["logits"].base is None


def test_more_than_the_vocabulary(tiny_export: Callable[..., Exported]) -> None:
    fill = filler(tiny_export)
    assert len(fill("a [MASK]", top_k=10**6)) == len(fill.tokenizer)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ("no mask", {}, r"the text has no mask token '\[MASK\]'"),
        ("", {}, "the text has no mask token"),
        (["a [MASK]", "no mask"], {}, "input 1: the text has no mask token"),
        (["a [MASK]", "<mask>"], {"batch_size": 2}, "input 1: the text has no mask token"),
        (None, {}, "expected a text, got NoneType"),
        ([["a [MASK]"]], {}, "expected a text, got list"),
        ("\ud800 [MASK]", {}, "lone surrogate"),
        ("a [MASK]", {"targets": []}, "none of the targets"),
        ("a [MASK]", {"targets": 3}, "targets must be a word or a list of words"),
        ("a [MASK]", {"targets": ["a", None]}, "targets must be a word or a list of words"),
        ("a [MASK]", {"targets": ["\ud800"]}, "lone surrogate"),
        ("a [MASK]", {"top_k": 0}, "top_k must be a whole number of at least 1"),
        ("a [MASK]", {"top_k": 2.0}, "top_k must be a whole number of at least 1"),
        ("a [MASK]", {"tokenizer_kwargs": "truncation"}, "tokenizer_kwargs must be a dict"),
        ("a [MASK]", {"tokenizer_kwargs": {"truncate": True}}, "no option 'truncate'; did you mean 'truncation'"),
        ("a [MASK]", {"tokenizer_kwargs": {"return_tensors": "pt"}}, "no option 'return_tensors'"),
        ("a [MASK]", {"target": "a"}, "did you mean 'targets'"),
    ],
)
def test_bad_input(
    inputs: object, options: dict[str, object], message: str, tiny_export: Callable[..., Exported]
) -> None:
    with pytest.raises(InputError, match=message):
        filler(tiny_export)(inputs, **options)


@pytest.mark.filterwarnings("error::UserWarning")
def test_no_usable_target(tiny_export: Callable[..., Exported]) -> None:
    with pytest.warns(UserWarning, match="is left out"), pytest.raises(InputError, match="none of the targets"):
        filler(tiny_export)("a [MASK]", targets=[""])
