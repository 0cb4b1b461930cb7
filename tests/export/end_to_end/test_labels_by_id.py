"""Labels numbered in every way that config.json can have them: transformers' answer, or an error that says why not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import transformers

from edgepipe import pipeline
from edgepipe.errors import BundleError, InputError, TaskError
from edgepipe_export import export
from edgepipe_export.checkpoint.resolve import CheckpointError
from tests.golden.compare import assert_same
from tests.tiny import build

TEXTS = ["I love this", "What a waste of time.", "Paris in spring", "a b c"]
LOGITS = 3


def label(model: Any, id2label: Mapping[int, Any], label2id: Mapping[Any, int] | None = None) -> None:
    """Name a model's labels, as whoever writes config.json by hand may; its head stays."""
    model.config.id2label = dict(id2label)
    model.config.label2id = dict(label2id or {name: place for place, name in id2label.items()})


COMPLETE = {
    "as usual": {0: "a", 1: "b", 2: "c"},
    "in another order": {2: "c", 0: "a", 1: "b"},
    "more than logits": {0: "a", 1: "b", 2: "c", 3: "d", 9: "e"},
    "numbers": {0: 7, 1: 5, 2: 0},
    "one name twice": {0: "a", 1: "b", 2: "a"},
}
WITH_A_HOLE = {
    "from 1": {1: "a", 2: "b", 3: "c"},
    "gaps": {0: "a", 2: "b", 5: "c"},
    "too few": {0: "a", 1: "b"},
}


@pytest.mark.parametrize("id2label", COMPLETE.values(), ids=COMPLETE)
@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
def test_labels_are_those_of_the_reference(task: str, id2label: Mapping[int, Any], tmp_path: Path) -> None:
    model, tokenizer = build("bert", task=task, num_labels=LOGITS)
    label(model, id2label)
    reference = transformers.pipeline(task, model=model, tokenizer=tokenizer, device="cpu")
    bundle = export(model, tmp_path / "bundle", task=task, tokenizer=tokenizer, verify=False)
    options = {"top_k": None} if task == "text-classification" else {}
    ours = pipeline(task, bundle)(TEXTS, **options)
    theirs = reference(TEXTS, **options)
    assert_same(ours, theirs)


@pytest.mark.parametrize("id2label", WITH_A_HOLE.values(), ids=WITH_A_HOLE)
@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_logit_without_a_label_is_refused(
    task: str, id2label: Mapping[int, Any], verify: bool, tmp_path: Path
) -> None:
    model, tokenizer = build("bert", task=task, num_labels=LOGITS)
    label(model, id2label)
    said = rf"the model gives {LOGITS} logits, numbered from 0, and id2label .* names {len(id2label)} labels"
    with pytest.raises(CheckpointError, match=said):
        export(model, tmp_path / "bundle", task=task, tokenizer=tokenizer, verify=verify)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("id2label", "label2id"),
    [
        ({0: "entailment", 1: "neutral", 2: "contradiction"}, {"contradiction": 0, "neutral": 1, "entailment": 2}),
        ({0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, {"contradiction": 0, "neutral": 1, "entailment": 2}),
        ({1: "contradiction", 2: "entailment", 3: "neutral"}, {"contradiction": 1, "entailment": 2, "neutral": 3}),
    ],
)
def test_label2id_says_which_logit_is_entailment(
    id2label: Mapping[int, str], label2id: Mapping[str, int], tmp_path: Path
) -> None:
    task = "zero-shot-classification"
    model, tokenizer = build("bert", num_labels=LOGITS)
    label(model, id2label, label2id)
    reference = transformers.pipeline(task, model=model, tokenizer=tokenizer, device="cpu")
    bundle = export(model, tmp_path / "bundle", task=task, tokenizer=tokenizer)
    ours = pipeline(task, bundle)
    for text in TEXTS:
        for multi_label in (False, True):
            options: dict[str, Any] = {"candidate_labels": ["travel", "food"], "multi_label": multi_label}
            assert_same(ours(text, **options), reference(text, **options))


def test_entailment_without_a_logit_is_refused(tmp_path: Path) -> None:
    model, tokenizer = build("bert", num_labels=LOGITS)
    label(model, {0: "a", 1: "b", 2: "c"}, {"contradiction": 1, "neutral": 2, "entailment": 3})
    bundle = export(model, tmp_path / "bundle", task="zero-shot-classification", tokenizer=tokenizer, verify=False)
    with pytest.raises(TaskError, match=f"logit 3 is entailment, and the model gives {LOGITS} logits"):
        pipeline("zero-shot-classification", bundle)


def test_what_another_tool_wrote_is_checked_when_it_is_loaded(tmp_path: Path) -> None:
    from tests.runtime.small_bundle import write_foreign, write_graph

    config = {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"1": "a", "2": "b", "3": "c"},
        "max_position_embeddings": 16,
    }
    write_foreign(tmp_path / "bundle", config=config)
    write_graph(tmp_path / "bundle" / "model.onnx")
    with pytest.raises(BundleError, match=r"gives 3 logits.*names 3 labels, with the ids 1, 2, 3"):
        pipeline("text-classification", tmp_path / "bundle")


def test_labels_that_are_no_texts_cannot_be_joined(tmp_path: Path) -> None:
    model, tokenizer = build("bert", task="token-classification", num_labels=LOGITS)
    label(model, {0: 0, 1: 1, 2: 2})
    bundle = export(model, tmp_path / "bundle", task="token-classification", tokenizer=tokenizer, verify=False)
    with pytest.raises(InputError, match=r"id2label of config.json has 0 for one; leave aggregation_strategy out"):
        pipeline("token-classification", bundle, aggregation_strategy="simple")
