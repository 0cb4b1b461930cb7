"""The options that type checkers know are those that the tasks have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Model, Tokenizer, pipeline
from edgepipe.generation.config import CHECKS
from edgepipe.generation.generate_options import GENERATE_OPTIONS
from edgepipe.generation.logits.constraints.constraint import GRAMMARS
from edgepipe.pipelines import (
    feature_extraction,
    fill_mask,
    options,
    question_answering,
    sentence_similarity,
    task_options,
    token_classification,
    zero_shot_classification,
)
from edgepipe.pipelines.base import Task
from edgepipe.pipelines.pipeline_options import CALL_OPTIONS, PIPELINE_OPTION_NAMES
from edgepipe.pipelines.sentence_embedding import EmbeddingTask
from edgepipe.pipelines.text2text_generation import Text2TextGeneration
from edgepipe.pipelines.text_classification import TextClassification
from edgepipe.pipelines.text_generation import TextGeneration
from edgepipe.pipelines.translation import Translation
from tests.runtime.small_bundle import write_bundle


def keys(kind: Any) -> set[str]:
    return set(kind.__optional_keys__ | kind.__required_keys__)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Model]:
    labels = {"0": "contradiction", "1": "neutral", "2": "entailment"}
    folder = write_bundle(tmp_path_factory.mktemp("options"), config={"id2label": labels})
    return Tokenizer.from_pretrained(folder), Model.from_pretrained(folder)


# A task, where it checks its options, what type checkers know of them, and those that stand in signatures.
ENCODERS: list[tuple[Any, type[Task], Any, set[str]]] = [
    (options, TextClassification, task_options.TextClassificationOptions, {"top_k"}),
    (
        token_classification,
        token_classification.TokenClassification,
        task_options.TokenClassificationOptions,
        {"aggregation_strategy"},
    ),
    (question_answering, question_answering.QuestionAnswering, task_options.QuestionAnsweringOptions, {"top_k"}),
    (fill_mask, fill_mask.FillMask, task_options.FillMaskOptions, set()),
    (
        zero_shot_classification,
        zero_shot_classification.ZeroShotClassification,
        task_options.ZeroShotClassificationOptions,
        {"candidate_labels"},
    ),
    (
        feature_extraction,
        feature_extraction.FeatureExtraction,
        task_options.FeatureExtractionOptions,
        {"return_tensors"},
    ),
    (sentence_similarity, sentence_similarity.SentenceSimilarity, task_options.SentenceSimilarityOptions, set()),
]


@pytest.mark.parametrize(("module", "task", "typed", "beside"), ENCODERS, ids=lambda value: getattr(value, "name", ""))
def test_options_of_encoders(
    module: Any,
    task: type[Task],
    typed: Any,
    beside: set[str],
    parts: tuple[Tokenizer, Model],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known: set[str] = set()

    def record(given: Mapping[str, Any], names: Sequence[str], task: str) -> None:
        known.update(names)

    made = object.__new__(task)
    made.tokenizer, made.model = parts
    monkeypatch.setattr(module, "check_options", record)
    if issubclass(task, EmbeddingTask):
        monkeypatch.setattr(type(made), "sentence_config", type("Config", (), {"modules_for": lambda *_: ()})())
    made.settings({"truncation": True} if task is TextClassification else {})
    assert known == keys(typed) | beside


def test_options_of_tasks_that_write() -> None:
    own = keys(task_options.GenerationOptions)
    assert own | {"num_return_sequences", *GRAMMARS} == set(CHECKS)
    idle = keys(task_options.ReferenceGenerateOptions)
    assert idle <= set(GENERATE_OPTIONS)
    expected = {*CHECKS, *idle, *TextGeneration.own_options} - {"return_tensors", "return_full_text"}
    assert keys(task_options.TextGenerationOptions) == expected
    of_all = {*CHECKS, *idle} - {*GRAMMARS}  # with which a model that has an encoder is refused
    expected = {*of_all, *Text2TextGeneration.own_options} - {"return_tensors", "num_return_sequences"}
    assert keys(task_options.Text2TextGenerationOptions) == expected
    expected = {*of_all, *Translation.own_options} - {"return_tensors", "num_return_sequences"}
    assert keys(task_options.TranslationOptions) == expected


def test_options_of_loading() -> None:
    parameters = [each.name for each in signature(pipeline).parameters.values() if each.kind is each.KEYWORD_ONLY]
    idle = keys(task_options.ReferenceLoadOptions)
    assert idle <= PIPELINE_OPTION_NAMES | set(CALL_OPTIONS)
    assert keys(task_options.LoadOptions) == {*parameters, *idle, "tokenizer"}


def test_options_of_a_bundle_that_says_its_task() -> None:
    loads = [value for name, value in vars(task_options).items() if name.startswith("Load") and "Any" not in name]
    beside = {"top_k", "aggregation_strategy", "return_tensors", "return_full_text"}
    assert keys(task_options.LoadAnyTask) == beside.union(*map(keys, loads))


def test_no_type_is_made_when_a_program_runs(tmp_path: Path) -> None:
    from tests.runtime.processes import run_python

    program = """
        import sys
        from edgepipe import pipeline
        pipeline(model=sys.argv[1])("a")
        print(*sys.modules)
    """
    loaded = run_python(program, str(write_bundle(tmp_path))).split()
    assert not {f"edgepipe.pipelines.task_{what}" for what in ("inputs", "options", "results")}.intersection(loaded)
