"""The table of tasks: names, and which task a checkpoint's class is for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgepipe import pipeline
from edgepipe.bundle.layout import MANIFEST_NAME
from edgepipe.bundle.manifest import Manifest
from edgepipe.bundle.tasks import ALIASES, TASKS, generates, task_entry, task_for_architecture
from edgepipe.errors import TaskError
from tests.runtime.small_bundle import write_bundle


def test_every_name_leads_to_an_entry() -> None:
    assert {name: task_entry(name) for name in TASKS} == TASKS
    assert task_entry("translation_en_to_fr") is TASKS["translation"]
    assert all(task_entry(alias) is TASKS[name] for alias, name in ALIASES.items())


@pytest.mark.parametrize(("name", "near"), [("text-clasification", "text-classification"), ("nerr", "ner")])
def test_an_unknown_name_is_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(TaskError, match=f"unknown task '{name}' .did you mean '{near}'.*fill-mask"):
        task_entry(name)
    assert not generates(name)


@pytest.mark.parametrize("architectures", [None, [], ["NoSuchThing"]])
def test_classes_that_no_task_has(architectures: object) -> None:
    assert task_for_architecture(architectures) is None


def test_a_bundle_of_a_task_that_this_version_lacks(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    path = folder / MANIFEST_NAME
    manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
    path.write_text(replace(manifest, task="telepathy").to_json(), encoding="utf-8")
    for task in (None, "text-classification"):
        with pytest.raises(TaskError, match="unknown task 'telepathy'"):
            pipeline(task, folder)


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("GPT2LMHeadModel", "text-generation"),
        ("LlamaForCausalLM", "text-generation"),
        ("ReformerModelWithLMHead", "text-generation"),
        ("XLNetLMHeadModel", "text-generation"),
        ("T5ForConditionalGeneration", "text2text-generation"),
        ("MarianMTModel", "text2text-generation"),
        ("BertModel", "feature-extraction"),
        ("GPT2Model", "feature-extraction"),
        ("GPT2DoubleHeadsModel", None),
        ("BartForSequenceClassification", "text-classification"),
    ],
)
def test_the_task_of_an_architecture(architecture: str, task: str | None) -> None:
    assert task_for_architecture([architecture]) == task


@pytest.mark.parametrize(
    "name", ['translation_en");evil("_to_fr', "translation_en_to_fr`", "translation_e n_to_fr", "translation__to_fr"]
)
def test_languages_are_words(name: str) -> None:
    with pytest.raises(TaskError, match="unknown task"):
        task_entry(name)
    assert task_entry("translation_zh-Hant_to_pt-BR") is TASKS["translation"]
