"""zero-shot-classification beside transformers: frozen answers and live ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe.errors import InputError, TaskError
from tests.conftest import Exported
from tests.golden import prove
from tests.golden.suites import golden, suite

TASK = "zero-shot-classification"
MODEL = "entailment last"
every_model = prove.parametrized(TASK)


def classifier(tiny_export: Callable[..., Exported], **options: Any) -> Any:
    return pipeline(TASK, tiny_export("bert", **suite(TASK).build_arguments("bert", MODEL)).bundle, **options)


@every_model
def test_the_golden_file_has_today_s_cases(architecture: str, model: str) -> None:
    prove.prove_cases(TASK, architecture, model)


@every_model
def test_as_frozen(architecture: str, model: str, tiny_export: Callable[..., Exported]) -> None:
    prove.prove_frozen(TASK, architecture, model, tiny_export)


def test_as_transformers_answers_here(tiny_export: Callable[..., Exported]) -> None:
    prove.prove_live(TASK, "bert", "entailment first", tiny_export)


def test_the_frozen_answers_differ() -> None:
    for architecture in suite(TASK).models:
        (case,) = [case for case in golden(TASK, architecture)["cases"] if case["name"] == "every text"]
        assert len({result["labels"][0] for result in case["result"]}) > 1, architecture


def test_labels_by_position(tiny_export: Callable[..., Exported]) -> None:
    classify = classifier(tiny_export)
    assert classify("a text", ["b", "c"]) == classify("a text", candidate_labels=["b", "c"])
    assert classify(["a text"], "b, c") == [classify("a text", ["b", "c"])]


def test_all_labels_of_a_text_are_one_batch(
    tiny_export: Callable[..., Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    classify = classifier(tiny_export)
    rows = []
    run = classify.model.session.run

    def counted(feeds: Any) -> Any:
        rows.append(len(feeds["input_ids"]))
        return run(feeds)

    monkeypatch.setattr(classify.model.session, "run", counted)
    classify(["a short text", "and another text, a bit longer"], ["one", "two", "three"])
    assert rows == [3, 3]


@pytest.mark.parametrize("labels", [("no", "maybe", "yes"), ("LABEL_0", "LABEL_1"), ("not_entailment", "neutral")])
def test_no_label_says_entailment(labels: tuple[str, ...], tiny_export: Callable[..., Exported]) -> None:
    bundle = tiny_export("bert", **suite(TASK).build_arguments("bert", MODEL)).bundle
    named = {"id2label": {str(index): label for index, label in enumerate(labels)}}
    named |= {"label2id": {label: index for index, label in enumerate(labels)}}
    config = {**bundle.config, **named}
    with pytest.raises(TaskError, match=f"needs a label that starts with 'entail', the model has {', '.join(labels)}"):
        pipeline(TASK, dataclasses.replace(bundle, config=config), candidate_labels="a")


def test_a_bundle_without_the_head(tiny_export: Callable[..., Exported]) -> None:
    bundle = tiny_export("bert", **suite("fill-mask").build_arguments("bert", "fill-mask")).bundle
    with pytest.raises(TaskError, match="is for fill-mask, not for zero-shot-classification"):
        pipeline(TASK, bundle)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ("a", {}, "no labels: pass candidate_labels"),
        ("a", {"candidate_labels": []}, "no labels"),
        ("a", {"candidate_labels": " , ,"}, "no labels"),
        ("a", {"candidate_labels": None}, "no labels"),
        ("a", {"candidate_labels": 3}, "candidate_labels must be a list of texts, or one text with commas"),
        ("a", {"candidate_labels": ["b", None]}, "candidate_labels must be a list of texts"),
        ("a", {"candidate_labels": ["b", ""]}, "candidate_labels must be a list of texts"),
        ("a", {"candidate_labels": {"b": 1}}, "candidate_labels must be a list of texts"),
        ("a", {"candidate_labels": ["b\ud800"]}, "lone surrogate"),
        ("", {"candidate_labels": "b"}, "expected a text that is not empty"),
        (["a", ""], {"candidate_labels": "b"}, "input 1: expected a text that is not empty"),
        (None, {"candidate_labels": "b"}, "expected a text that is not empty, got NoneType"),
        ([["a"]], {"candidate_labels": "b"}, "expected a text that is not empty, got list"),
        ("\udfff", {"candidate_labels": "b"}, "lone surrogate"),
        ("a", {"candidate_labels": "b", "hypothesis_template": "no place"}, "must have one {} for the label"),
        ("a", {"candidate_labels": "b", "hypothesis_template": "{} {}"}, "must have one {} for the label"),
        ("a", {"candidate_labels": "b", "hypothesis_template": "{name}"}, "must have one {} for the label"),
        ("a", {"candidate_labels": "b", "hypothesis_template": "{"}, "must have one {} for the label"),
        ("a", {"candidate_labels": "b", "hypothesis_template": "{.secret}"}, "must have one {} for the label"),
        ("a", {"candidate_labels": "b", "hypothesis_template": "{:d}"}, "must have one {} for the label"),
        ("a", {"candidate_labels": "b", "hypothesis_template": 3}, "must have one {} for the label"),
        ("a", {"candidate_labels": "b", "multi_label": "yes"}, "multi_label must be True or False"),
        ("a", {"candidate_labels": "b", "multi_class": True}, "did you mean 'multi_label'"),
        ("a", {"candidate_labels": "b", "batch_size": "8"}, "batch_size must be a whole number"),
        ("a", {"candidate_labels": ["label " * 100]}, "the label 'label .* leaves no room for the text"),
    ],
)
def test_bad_input(
    inputs: object, options: dict[str, object], message: str, tiny_export: Callable[..., Exported]
) -> None:
    with pytest.raises(InputError, match=message):
        classifier(tiny_export)(inputs, **options)
