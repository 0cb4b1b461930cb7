"""Which task a bundle becomes: by its own word, by the caller's, or by its graph."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe.errors import TaskError
from tests.conftest import REPOSITORY
from tests.runtime.small_bundle import LABELS, LIMIT, write_bundle, write_foreign, write_graph

TASK = "text-classification"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("pipeline"), ("fp32", "int8"))


@pytest.mark.parametrize("task", [None, TASK, "sentiment-analysis"])
def test_the_task_by_name_or_from_the_bundle(folder: Path, task: str | None) -> None:
    made = pipeline(task, folder)
    assert type(made).__name__ == "TextClassification"
    assert made("a b c")[0]["label"] in LABELS


@pytest.mark.parametrize(("task", "name"), [(None, TASK), (TASK, TASK), ("sentiment-analysis", "sentiment-analysis")])
def test_the_task_is_called_as_it_was_asked_for(folder: Path, task: str | None, name: str) -> None:
    assert pipeline(task, folder).task == name


@pytest.mark.parametrize(("task", "prefix"), [("translation", "To French: "), ("translation_a_to_de", "To German: ")])
def test_a_translation_is_the_one_that_its_name_says(task: str, prefix: str, tmp_path: Path) -> None:
    folder = tmp_path / "writer"
    shutil.copytree(REPOSITORY / "tests" / "data" / "foreign_writers" / "merged", folder)
    config = json.loads((folder / "config.json").read_text())
    config["task_specific_params"] = {
        "translation_a_to_fr": {"prefix": "To French: "},
        "translation_a_to_de": {"prefix": "To German: "},
    }
    (folder / "config.json").write_text(json.dumps(config))
    made: Any = pipeline(task, folder)
    assert (made.task, made.prefix) == (task, prefix)


@pytest.mark.parametrize(
    ("task", "nearest"),
    [
        ("text-clasification", "text-classification"),
        ("sentiment", "sentiment-analysis"),
        ("Text-Classification", "text-classification"),
    ],
)
def test_an_unknown_task_names_the_nearest(folder: Path, task: str, nearest: str) -> None:
    with pytest.raises(TaskError, match=rf"unknown task '{task}' \(did you mean '{nearest}'\?\); the tasks are "):
        pipeline(task, folder)


@pytest.mark.parametrize("task", ["", "xyzzy", 3, ["text-classification"], b"ner"])
def test_what_is_no_task(folder: Path, task: Any) -> None:
    with pytest.raises(TaskError, match=r"unknown task .*the tasks are .*text-classification"):
        pipeline(task, folder)


def test_a_bundle_in_the_place_of_the_task(folder: Path) -> None:
    with pytest.raises(TaskError, match=f"is a directory, not a task; name a bundle with model='{folder}'"):
        pipeline(str(folder))


def test_an_unknown_task_is_said_before_the_bundle_is_looked_for() -> None:
    with pytest.raises(TaskError):
        pipeline("xyzzy", "/nowhere")


def test_a_task_that_does_not_fit(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, task="fill-mask")
    with pytest.raises(TaskError, match="is for fill-mask, not for text-classification"):
        pipeline(TASK, bundle)


def test_a_bundle_for_a_task_this_version_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="unknown task 'mind-reading'"):
        pipeline(model=write_bundle(tmp_path, task="mind-reading"))


def test_a_foreign_directory_that_does_not_say_its_task(tmp_path: Path) -> None:
    config = {"architectures": ["MysteryNet"], "id2label": {"0": "a", "1": "b", "2": "c"}}
    write_foreign(tmp_path, config={**config, "max_position_embeddings": LIMIT})
    write_graph(tmp_path / "model.onnx")
    with pytest.raises(TaskError, match=r"does not say its task .*; name one of .*text-classification"):
        pipeline(model=tmp_path)
    assert pipeline(TASK, tmp_path)("a")[0]["label"] in "abc"
