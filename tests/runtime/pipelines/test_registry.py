"""A new task: one entry of the table and one file, and what is said where one of them is missing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgepipe import pipeline
from edgepipe.bundle.tasks import TASKS, TaskEntry
from edgepipe.errors import TaskError
from edgepipe.pipelines.base import Request, Task
from edgepipe.pipelines.registry import task_class
from tests.runtime.small_bundle import write_bundle

MODULE = "edgepipe.pipelines.dummy_task"


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = ("ForSequenceClassification",)
    entry = TaskEntry(("dummy_task", "DummyTask"), "AutoModelForSequenceClassification", heads)
    monkeypatch.setitem(TASKS, "dummy", entry)


def define_task(task: str) -> type[Task]:
    class DummyTask(Task):
        name = task
        outputs = ("logits",)

        def settings(self, options: Mapping[str, Any]) -> None:
            return None

        def encode(self, item: Any, settings: None) -> Request:
            return Request([self.tokenizer(item)])

        def decode(self, request: Request, outputs: Sequence[Mapping[str, Any]], settings: None) -> int:
            return int(np.argmax(outputs[0]["logits"]))

    return DummyTask


def write_module(monkeypatch: pytest.MonkeyPatch, **members: Any) -> None:
    module = ModuleType(MODULE)
    module.__dict__.update(members)
    monkeypatch.setitem(sys.modules, MODULE, module)


def test_a_task_is_one_entry_and_one_file(entry: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_module(monkeypatch, DummyTask=define_task("dummy"))
    dummy = pipeline("dummy", write_bundle(tmp_path))
    best = dummy("a b c")
    assert dummy(["a b c", "one two"], batch_size=2)[0] == best
    assert type(dummy).auto_model == "AutoModelForSequenceClassification"
    assert dummy.labels[best] == pipeline(model=write_bundle(tmp_path / "other"))("a b c")[0]["label"]


def test_without_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    write_module(monkeypatch, DummyTask=define_task("dummy"))
    with pytest.raises(TaskError, match="unknown task 'dummy'"):
        task_class("dummy")


def test_without_a_file(entry: None) -> None:
    with pytest.raises(LookupError, match=f"has 'dummy', but there is no module {MODULE}; write it, with a class Dum"):
        task_class("dummy")


def test_without_a_class(entry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    write_module(monkeypatch)
    with pytest.raises(LookupError, match=f"has 'dummy', but {MODULE} has no class DummyTask; write it"):
        task_class("dummy")


def test_with_another_name(entry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    write_module(monkeypatch, DummyTask=define_task("fill-mask"))
    with pytest.raises(LookupError, match=r"has 'dummy', but .*DummyTask is named 'fill-mask'"):
        task_class("dummy")


@pytest.mark.parametrize("name", TASKS)
def test_every_entry_has_its_class(name: str) -> None:
    assert task_class(name).name == name
