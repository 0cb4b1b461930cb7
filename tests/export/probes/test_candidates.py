"""Which inputs are tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from edgepipe.backend.session import SessionConfig
from edgepipe.pipelines.task_loading import load_task
from edgepipe_export.calibration.dataset import Dataset
from edgepipe_export.evaluation.tasks import TASK_EVALUATIONS, find_evaluation
from edgepipe_export.probes.candidates import list_candidates
from tests.conftest import Exported
from tests.tiny import HEADS

LABELS = ("entailment", "neutral", "contradiction")


@pytest.fixture(scope="module")
def loaded(tiny_export: Callable[..., Exported]) -> Callable[[str], Any]:
    """``loaded(task)``: a tiny pipeline."""

    def load(task: str) -> Any:
        options = {"labels": LABELS} if task == "zero-shot-classification" else {}
        return load_task(task, tiny_export("bert", task=task, **options).bundle, "fp32", SessionConfig())

    return load


@pytest.mark.parametrize("task", sorted(set(TASK_EVALUATIONS) & set(HEADS)))
def test_every_task_has_all_kinds(loaded: Callable[[str], Any], task: str) -> None:
    own = loaded(task)
    found = list(list_candidates(own, find_evaluation(task).options[-1], None))
    kinds = Counter(probe.kind for probe in found)
    assert set(kinds) == {"plain", "script", "long", "batch"}
    assert kinds["plain"] >= 20
    [batch] = [probe for probe in found if probe.kind == "batch"]
    assert len(batch.inputs) == 3
    lengths = [max(len(piece["input_ids"]) for piece in probe.pieces) for probe in found]
    assert max(lengths) <= own.model.max_length
    assert max(lengths) > own.model.max_length // 2


def test_inputs_of_the_data_are_all_there_is_where_they_are_wanted(loaded: Callable[[str], Any]) -> None:
    data = Dataset(("the first of all", "the second of all"), None, "mine.txt")
    found = list(list_candidates(loaded("text-classification"), {}, data))
    assert {text for probe in found for text in probe.inputs} == {"the first of all", "the second of all"}


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_prompts_and_what_follows(writer: Callable[[str], tuple[Any, Any, Any]], family: str) -> None:
    bundle = writer(family)[2]
    task: Any = load_task(None, bundle, "fp32", SessionConfig())
    found = list(list_candidates(task, {}, None))
    assert {probe.kind for probe in found} == {"plain", "script"}
    for probe in found:
        steps = task.compute_outputs(probe.pieces, probe.following)
        best = [int(step["logits"].argmax()) for step in steps]
        # The likeliest tokens are those that follow; what an encoder-decoder starts with is nobody's choice.
        assert best[: len(probe.following) - task.decoder.is_encoder_decoder] == list(
            probe.following[task.decoder.is_encoder_decoder :]
        )
