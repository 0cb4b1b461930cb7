"""From a checkpoint to its texts: what exported bundles write is what transformers writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepipe_export import export
from tests.golden.compare import assert_same
from tests.golden.prove import Pipelines
from tests.golden.prove_generation import built
from tests.golden.suites import ask, golden


@pytest.mark.parametrize(
    ("task", "architecture", "model"),
    [
        ("text-generation", "gpt2", "plain"),
        pytest.param("text-generation", "llama", "chats", marks=pytest.mark.coverage),
        pytest.param("text2text-generation", "bart", "plain", marks=pytest.mark.coverage),
        pytest.param("summarization", "t5", "params of the task", marks=pytest.mark.coverage),
        pytest.param("translation", "mbart", "plain", marks=pytest.mark.coverage),
        pytest.param("translation", "m2m_100", "nllb", marks=pytest.mark.coverage),
    ],
)
def test_frozen_answers_of_a_bundle(task: str, architecture: str, model: str, tmp_path: Path) -> None:
    made, tokenizer = built(task, architecture, model)
    bundle = export(made, tmp_path / "bundle", task=task, tokenizer=tokenizer, verify=False)
    assert bundle.task == task
    pipelines = Pipelines(None, bundle)
    for case in golden(task, architecture)["cases"]:
        if case["model"] == model:
            answer = ask(pipelines(case["made_with"]), case)
            assert_same(answer, case["result"], f"{architecture}, {model}, {case['name']}")
