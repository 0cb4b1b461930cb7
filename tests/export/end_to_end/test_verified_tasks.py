"""Every task's results are compared with PyTorch's when a bundle is exported or verified, and what is wrong shows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import Bundle, Tokenizer, pipeline
from edgepipe.bundle.tasks import TASKS
from edgepipe.errors import InputError
from edgepipe.pipelines.registry import task_class
from edgepipe_export import export, verify
from edgepipe_export.calibration.texts import context_questions
from edgepipe_export.evaluation.differences import compare_results, structure_difference
from edgepipe_export.evaluation.tasks import (
    TASK_EVALUATIONS,
    find_evaluation,
    inputs_of,
    make_inputs,
    truncate_text,
)
from tests.conftest import Exported
from tests.golden.suites import suite
from tests.runtime.small_bundle import rewrite_manifest
from tests.tiny import LIMIT, TOKENIZERS, build

ENTITIES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TEXTS = [
    "Anna moved from Kraków to Manchester.",
    "It works.",
    "The train was late again, and nobody told us why. " * 20,
    "",
    "Not bad at all.",
    "👍🏽 Great, isn't it?",
]
# Those of the golden files, which are exported anyway.
MODELS = {
    "token-classification": "B- and I-",
    "question-answering": "question-answering",
    "fill-mask": "fill-mask",
    "feature-extraction": "feature-extraction",
}


def altered(bundle: Bundle, folder: Path) -> Path:
    """A copy with other weights in the same places; the sizes stay, so loading does not notice."""
    copy = Path(shutil.copytree(bundle.path, folder))
    path = copy / "onnx" / "model.onnx_data"
    weights = np.fromfile(path, dtype=np.uint8)
    quarter = len(weights) // 16 * 4
    weights[-quarter:].view(np.float32)[:] *= -1
    weights.tofile(path)
    return copy


def relabelled(bundle: Bundle, folder: Path) -> Path:
    """A copy whose config names the labels in another order: every tensor is right, every result is wrong."""
    copy = Path(shutil.copytree(bundle.path, folder))
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    labels = list(config["id2label"].values())
    config["id2label"] = dict(enumerate(labels[1:] + labels[:1]))
    config["label2id"] = {label: place for place, label in config["id2label"].items()}
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    manifest = json.loads((copy / "edgepipe.json").read_text(encoding="utf-8"))
    entry = next(file for file in manifest["files"] if file["path"] == "config.json")
    entry["bytes"] = (copy / "config.json").stat().st_size
    rewrite_manifest(copy, manifest)
    return copy


def test_every_task_has_its_questions() -> None:
    reading = [task for task in TASKS if not task_class(task).generates]  # those that write have checks of their own
    assert set(reading) == TASK_EVALUATIONS.keys()
    assert all(find_evaluation(task).options for task in reading)


@pytest.mark.parametrize("task", MODELS)
def test_results_are_compared(task: str, tiny_export: Callable[..., Exported], tmp_path: Path) -> None:
    made = tiny_export("bert", **suite(task).build_arguments("bert", MODELS[task]))
    rows = verify(made.bundle, made.model, tokenizer=made.tokenizer, texts=TEXTS).rows
    assert all(row.passed for row in rows), [str(row) for row in rows if not row.passed]
    compared = [row for row in rows if row.check.startswith("pipeline")]
    assert len(compared) == len(find_evaluation(task).options)
    assert compared[-1].max_difference is not None
    assert compared[-1].max_difference < 1e-4
    assert compared[-1].agreement == 1

    broken = altered(made.bundle, tmp_path / "broken")
    rows = verify(broken, made.model, tokenizer=made.tokenizer, texts=TEXTS).rows
    failed = [row for row in rows if not row.passed]
    assert [row.check for row in failed][:2] == ["tensors, random ids", "tensors, texts"]
    assert compared[-1].check in [row.check for row in failed]
    worst = next(row for row in failed if row.check == compared[-1].check)
    assert worst.max_difference is None or worst.max_difference > 1e-4  # None: not even one answer is the same
    assert worst.agreement is not None
    assert worst.detail is not None


@pytest.mark.parametrize(
    ("task", "labels"),
    [("token-classification", ENTITIES), ("zero-shot-classification", ("contradiction", "neutral", "entailment"))],
)
def test_an_export_compares_results(task: str, labels: tuple[str, ...], tmp_path: Path) -> None:
    model, tokenizer = build("bert", task=task, labels=labels)
    bundle = export(model, tmp_path / "out", task=task, tokenizer=tokenizer, dtypes=("fp32", "int8"), max_drop=100)
    assert bundle.manifest is not None
    exact, quantized = (bundle.manifest.variants[dtype].parity for dtype in ("fp32", "int8"))
    assert exact is not None
    assert quantized is not None
    assert exact.label_agreement == 1
    assert quantized.label_agreement is not None
    assert 0.5 < quantized.label_agreement <= 1
    assert exact.max_score_diff is not None
    assert quantized.max_score_diff is not None
    assert exact.max_score_diff < 1e-4 < quantized.max_score_diff

    wrong = relabelled(bundle, tmp_path / "relabelled")
    rows = verify(wrong, model, tokenizer=tokenizer, texts=TEXTS, dtype="fp32").rows
    assert all(row.passed for row in rows if row.check.startswith("tensors"))
    assert not any(row.passed for row in rows if row.check.startswith("pipeline"))


def test_built_in_questions_fit_with_their_contexts(tiny_export: Callable[..., Exported]) -> None:
    """DeBERTa's tiny tokenizer takes 44 tokens for one of them, of the 64 that its model takes for both."""
    task = "question-answering"
    made = tiny_export("deberta-v2", **suite(task).build_arguments("deberta-v2", MODELS[task]))
    answer = pipeline(task, str(made.bundle.path))
    inputs = make_inputs(task, answer.tokenizer, LIMIT)
    given = dict(context_questions())
    kept = {question: item["question"] for question, item in zip(given, inputs, strict=True)}
    assert all(question.startswith(cut) and cut for question, cut in kept.items())
    assert any(question != cut for question, cut in kept.items())
    assert [item["context"] for item in inputs] == list(given.values())
    for options in find_evaluation(task).options:
        settings = answer.settings(options)
        for item in inputs:
            assert all(len(piece["input_ids"]) <= LIMIT for piece in answer.encode(item, settings).pieces)


def test_built_in_questions_are_asked_where_no_texts_are_given(tiny_export: Callable[..., Exported]) -> None:
    task = "question-answering"
    made = tiny_export("bert", **suite(task).build_arguments("bert", MODELS[task]))
    rows = verify(made.bundle, made.model, tokenizer=made.tokenizer).rows
    assert all(row.passed for row in rows), [str(row) for row in rows if not row.passed]
    assert (rows[-1].compared, rows[-1].agreement) == (len(context_questions()), 1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_pretrained(TOKENIZERS / "bert")


@pytest.mark.parametrize("task", TASK_EVALUATIONS)
def test_what_is_asked_fits_the_model(task: str, tokenizer: Tokenizer) -> None:
    room = LIMIT - find_evaluation(task).reserve(tokenizer)
    texts = [truncate_text(text, tokenizer, room) for text in TEXTS]
    assert texts[:2] == TEXTS[:2]
    for item in inputs_of(task, texts, tokenizer):
        if isinstance(item, str):
            assert len(tokenizer(item)["input_ids"]) <= LIMIT
    if task == "fill-mask":
        masks = [item.count("[MASK]") for item in inputs_of(task, texts, tokenizer)]
        assert set(masks) == {1, 2}
        assert inputs_of(task, ["A [MASK]."], tokenizer) == ("A [MASK].",)


@pytest.mark.parametrize("task", ["question-answering", "zero-shot-classification"])
def test_texts_that_nothing_can_be_asked_about(task: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="all empty"):
        inputs_of(task, ["", " "], tokenizer)


def test_a_text_is_shortened_to_what_fits(tokenizer: Tokenizer) -> None:
    long = "antidisestablishmentarianism 你好 " * 30
    for room in (2, 3, 7, LIMIT):
        text = truncate_text(long, tokenizer, room)
        assert long.startswith(text)
        assert len(tokenizer(text)["input_ids"]) <= room
    assert truncate_text(long, tokenizer, 2) == ""


def filling(token: int, score: float) -> dict[str, Any]:
    return {"score": score, "token": token, "token_str": str(token), "sequence": f"a {token}"}


def test_choices_that_tie_may_change_places() -> None:
    expected = [filling(1, 0.5), filling(2, 0.20001), filling(3, 0.2), filling(4, 0.1)]
    assert structure_difference(expected, [expected[i] for i in (0, 2, 1, 3)]) is None
    assert structure_difference(expected, [*expected[:3], filling(9, 0.10003)]) is None
    assert structure_difference(expected, [*expected[:3], filling(9, 0.11)]) is not None
    assert structure_difference(expected, [filling(9, 0.5), *expected[1:]]) is not None
    assert structure_difference(expected[:1], [filling(9, 0.5)]) is not None
    assert structure_difference([expected], [[expected[i] for i in (0, 2, 1, 3)]]) is None


def test_candidate_labels_that_tie_may_change_places() -> None:
    def result(labels: str, *scores: float) -> dict[str, Any]:
        return {"sequence": "a text", "labels": list(labels), "scores": list(scores)}

    expected = result("abc", 0.5, 0.25, 0.25)
    assert structure_difference(expected, result("acb", 0.5, 0.25, 0.25)) is None
    assert structure_difference(expected, result("bac", 0.5, 0.25, 0.25)) is not None
    assert structure_difference(expected, result("ab", 0.5, 0.25)) is not None


def token(index: int, entity: str, score: float) -> dict[str, Any]:
    return {"entity": entity, "score": np.float32(score), "index": index, "word": "w", "start": index, "end": index + 1}


def test_agreement_of_entities_is_that_of_the_tokens_either_side_labels() -> None:
    read = find_evaluation("token-classification").read_decisions
    expected = [[token(1, "B-PER", 0.9), token(2, "I-PER", 0.8)], []]
    got = [[token(1, "B-PER", 0.7), token(2, "B-LOC", 0.8), token(5, "B-LOC", 0.6)], [token(1, "B-PER", 0.5)]]
    found = compare_results(["one", "two"], expected, got, read)
    assert found.agreement == 1 / 4
    assert found.largest_score == pytest.approx(0.2)
    assert compare_results(["one"], [[]], [[]], read).agreement is None


def test_agreement_of_masks_and_answers() -> None:
    masks = [[filling(1, 0.6), filling(2, 0.2)], [filling(3, 0.5), filling(4, 0.3)]]
    others = [[filling(2, 0.5), filling(1, 0.4)], [filling(3, 0.5), filling(9, 0.3)]]
    found = compare_results(["text"], [masks], [others], find_evaluation("fill-mask").read_decisions)
    assert found.agreement == 0.5
    assert found.largest_score == pytest.approx(0.3)
    answer = {"score": 0.5, "start": 0, "end": 3, "answer": "one"}
    other = answer | {"start": 4, "answer": "two"}
    read = find_evaluation("question-answering").read_decisions
    assert compare_results([{}, {}], [answer, answer], [answer, [answer, other]], read).agreement == 1
    assert compare_results([{}, {}], [answer, answer], [answer, other], read).agreement == 0.5
