"""The tests that every suite's test module has, as functions to be called with its task."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import transformers

from edgepipe import Bundle, pipeline
from tests.conftest import Exported
from tests.golden.compare import assert_same
from tests.golden.make_suites import reference
from tests.golden.suites import ask, golden, suite, weights_digest


def parametrized(task: str) -> Any:
    """Run a test for every architecture and model of a task's suite."""
    return pytest.mark.parametrize(("architecture", "model"), suite(task).pairs, ids=lambda name: name)


class Pipelines:
    """Pipelines of one bundle: one for all cases that have it made alike, as a program would have it."""

    def __init__(self, task: str | None, bundle: Bundle) -> None:
        self._task = task
        self._bundle = bundle
        self._made: dict[str, Any] = {}

    def __call__(self, made_with: Mapping[str, Any]) -> Any:
        key = repr(made_with)
        if key not in self._made:
            self._made[key] = pipeline(self._task, self._bundle, **made_with)
        return self._made[key]


def prove_cases(task: str, architecture: str, model: str) -> None:
    """The golden file was made of today's cases."""
    content = golden(task, architecture)
    frozen = [{key: value for key, value in case.items() if key != "result"} for case in content["cases"]]
    wanted = suite(task).cases_of(architecture, model)
    assert [case for case in frozen if case["model"] == model] == json.loads(json.dumps(wanted)), content["made_by"]
    assert content["models"] == json.loads(json.dumps(suite(task).models[architecture]))
    assert content["versions"]["transformers"].startswith(suite(task).reference)


def prove_frozen(task: str, architecture: str, model: str, tiny_export: Callable[..., Exported]) -> None:
    """The bundle answers what the golden file has, and was made of the same weights."""
    content = golden(task, architecture)
    made = tiny_export(architecture, **suite(task).build_arguments(architecture, model))
    assert weights_digest(made.model) == content["weights"][model], "other weights: make the golden file again"
    pipelines = Pipelines(task, made.bundle)
    for case in content["cases"]:
        if case["model"] == model:
            answer = ask(pipelines(case["made_with"]), case)
            assert_same(answer, case["result"], f"{architecture}, {model}, {case['name']}")


def prove_live(task: str, architecture: str, model: str, tiny_export: Callable[..., Exported]) -> None:
    """The bundle answers what the transformers of this environment answers."""
    assert transformers.__version__.startswith(suite(task).reference)
    made = tiny_export(architecture, **suite(task).build_arguments(architecture, model))
    pipelines = Pipelines(task, made.bundle)
    for case in suite(task).cases_of(architecture, model):
        answer = ask(pipelines(case["made_with"]), case)
        expected = reference(task, made.model, made.tokenizer, case)
        assert_same(answer, expected, f"{architecture}, {model}, {case['name']}")
