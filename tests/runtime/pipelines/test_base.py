"""What a pipeline tells of itself, how it ends, and its progress bar: on request, and nothing else changes."""

from __future__ import annotations

import pydoc
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import Model, Tokenizer, pipeline
from edgepipe.backend.device import DeviceSpec
from edgepipe.bundle.tasks import TASKS
from edgepipe.errors import ClosedError, DependencyError, InputError
from edgepipe.pipelines.batching import READ_PADDING
from edgepipe.pipelines.registry import task_class
from tests.runtime.pipelines.torch_encoder import both_pipelines
from tests.runtime.small_bundle import write_bundle
from tests.tiny import build

TEXTS = ["a quiet triumph", "dull", "I loved it", "so long, so very long"] * 5

pytest.importorskip("tqdm")


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return pipeline(model=write_bundle(tmp_path_factory.mktemp("progress")))


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_list_is_counted(classify: Any, capfd: pytest.CaptureFixture[str], batch_size: int) -> None:
    expected = classify(TEXTS, batch_size=batch_size)
    assert capfd.readouterr() == ("", ""), "without asking there is no bar"
    assert classify(TEXTS, batch_size=batch_size, progress=True) == expected
    said = capfd.readouterr()
    assert said.out == ""
    assert "20/20" in said.err


@pytest.mark.parametrize("batch_size", [1, 8])
def test_an_iterator_is_counted_as_it_is_read(
    classify: Any, capfd: pytest.CaptureFixture[str], batch_size: int
) -> None:
    results = classify(iter(TEXTS), batch_size=batch_size, progress=True)
    assert next(results) == classify(TEXTS[0])[0]
    assert len(list(results)) == len(TEXTS) - 1
    assert "20 inputs" in capfd.readouterr().err


def test_one_text_needs_no_bar(classify: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert classify(TEXTS[0], progress=True) == classify(TEXTS[0])
    assert classify([], progress=False) == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("value", [np.ones(2), "yes", 1], ids=["array", "text", "number"])
def test_what_is_no_choice_of_a_bar(classify: Any, value: Any) -> None:
    with pytest.raises(InputError, match="progress must be True or False"):
        classify(TEXTS, progress=value)


def test_without_tqdm_the_message_says_so(classify: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(DependencyError, match="pip install tqdm"):
        classify(TEXTS, progress=True)


def test_tqdm_is_not_loaded_unasked(classify: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert len(classify(TEXTS)) == len(TEXTS)


def test_labels_and_a_bar(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Zero-shot classification reads its options before the others do."""
    config: dict[str, object] = {"id2label": {"0": "contradiction", "1": "neutral", "2": "entailment"}}
    classify = pipeline("zero-shot-classification", write_bundle(tmp_path / "nli", config=config))
    assert len(classify(TEXTS, ["film", "food"], progress=True)) == len(TEXTS)
    assert "20/20" in capfd.readouterr().err


# What a pipeline tells of itself.


def test_the_parts_of_a_pipeline_are_called_as_in_transformers(classify: Any) -> None:
    assert classify.task == "text-classification"
    assert classify.device == DeviceSpec("cpu")
    assert isinstance(classify.tokenizer, Tokenizer)
    assert isinstance(classify.model, Model)
    assert classify.model.config.id2label == classify.id2label


def test_a_pipeline_shows_what_it_runs_and_where(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", ("fp32", "int8"))
    made = pipeline("sentiment-analysis", folder, dtype="int8", num_threads=2, batch_size=8, top_k=None)
    assert repr(made) == (
        f"TextClassification(task='sentiment-analysis', model=Model({str(folder)!r}, dtype='int8', device='cpu', "
        "num_threads=2), batch_size=8, top_k=None)"
    )


@pytest.mark.parametrize("task", TASKS)
def test_help_tells_what_a_task_takes_and_gives(task: str) -> None:
    """``help(pipeline(...))`` is that of the class."""
    text = pydoc.plain(pydoc.render_doc(task_class(task)))
    call = pydoc.plain(pydoc.render_doc(task_class(task).__call__))
    assert f'pipeline("{task}"' in text or 'pipeline("ner"' in text
    for heading in ("Args:", "inputs:", "batch_size:", "progress:", "**options:"):
        assert heading in call
    assert "See the class" not in text


# How it ends.


def test_a_closed_pipeline_gives_its_memory_back(tmp_path: Path) -> None:
    made = pipeline(model=write_bundle(tmp_path))
    session = weakref.ref(made.model.session._session)
    waiting = made(iter(TEXTS))
    next(waiting)
    made.close()
    made.close()
    assert session() is None
    assert repr(made).endswith("closed))")
    assert made.device == DeviceSpec("cpu")
    for call in (lambda: made(TEXTS[0]), lambda: made(TEXTS), lambda: next(waiting)):
        with pytest.raises(ClosedError, match="was closed, by close"):
            call()


def test_a_block_closes_its_pipeline(tmp_path: Path) -> None:
    with pipeline("text-classification", write_bundle(tmp_path)) as made:
        assert made(TEXTS[0])
    with pytest.raises(ClosedError):
        made(TEXTS[0])


# Batches whose padding shows in results.

# None so short that Funnel fails in PyTorch.
MIXED = [
    "I love this film",
    "What a waste of time, and of money!",
    "a b c",
    "Sarah lives in Rome.",
    "so " * 12,
    "Is it?",
]


def of_task(task: str, architecture: str) -> tuple[Any, Any, list[str], dict[str, Any]]:
    """Our pipeline, that of transformers, inputs and options."""
    labels = ("contradiction", "neutral", "entailment") if task == "zero-shot-classification" else ()
    model, tokenizer = build(architecture, task=task, labels=labels)
    texts = [f"{text} {tokenizer.mask_token}" for text in MIXED] if task == "fill-mask" else MIXED
    options = {"candidate_labels": ["sport", "a longer label"]} if task == "zero-shot-classification" else {}
    return *both_pipelines(task, model, tokenizer), texts, options


def assert_near(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for name, value in theirs.items():
            assert_near(ours[name], value)
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_near(one, other)
    else:
        is_number = isinstance(theirs, (float, np.floating))
        assert ours == (pytest.approx(theirs, abs=1e-4, rel=1e-3) if is_number else theirs)


# transformers has no batches for XLNet: its pipeline takes a model's outputs apart, and fails at the mems.
@pytest.mark.parametrize("architecture", sorted(READ_PADDING - {"xlnet"}))
@pytest.mark.parametrize("task", ["text-classification", "zero-shot-classification"])
def test_a_model_that_reads_padding_gets_the_batches_of_transformers(task: str, architecture: str) -> None:
    ours, theirs, texts, options = of_task(task, architecture)
    for batch_size in (1, 2, 4):
        found, expected = (pipe(texts, batch_size=batch_size, **options) for pipe in (ours, theirs))
        assert_near(found, expected)
        assert_near(list(ours(iter(texts), batch_size=batch_size, **options)), expected)
    assert_near(ours(texts[0], batch_size=2, **options), theirs(texts[0], batch_size=2, **options))


@pytest.mark.parametrize("task", ["token-classification", "fill-mask", "feature-extraction"])
@pytest.mark.parametrize("architecture", ["convbert", "nystromformer"])
def test_so_do_tasks_of_each_token(task: str, architecture: str) -> None:
    ours, theirs, texts, _ = of_task(task, architecture)
    for batch_size in (1, 2, 4):
        assert_near(ours(texts, batch_size=batch_size), theirs(texts, batch_size=batch_size))


@pytest.mark.parametrize("task", ["text-classification", "token-classification", "fill-mask", "feature-extraction"])
def test_padding_on_the_left_gets_the_batches_of_transformers(task: str) -> None:
    model, tokenizer = build("bert", task=task)
    tokenizer.padding_side = "left"
    texts = [f"{text} {tokenizer.mask_token}" for text in MIXED] if task == "fill-mask" else MIXED
    ours, theirs = both_pipelines(task, model, tokenizer)
    for batch_size in (1, 2, 4):
        assert_near(ours(texts, batch_size=batch_size), theirs(texts, batch_size=batch_size))


def test_an_input_that_cannot_be_used_ends_a_batch() -> None:
    ours, *_ = of_task("text-classification", "convbert")
    results = ours(iter(["a", "b", "c", 3, "d"]), batch_size=2)
    assert [next(results)["label"] for _ in range(3)]
    with pytest.raises(InputError, match="input 3: expected a text"):
        next(results)
    assert ours([], batch_size=2) == []
