"""The answers of the tasks that write text: frozen."""

from __future__ import annotations

import pytest

from tests.golden.prove import prove_cases
from tests.golden.prove_generation import prove_frozen_texts
from tests.golden.suites import suite

TASKS = ("summarization", "text-generation", "text2text-generation", "translation")
EVERY = [(task, *pair) for task in TASKS for pair in suite(task).pairs]
parametrized = pytest.mark.parametrize(("task", "architecture", "model"), EVERY, ids=lambda name: name)


@parametrized
def test_the_golden_file_was_made_of_these_cases(task: str, architecture: str, model: str) -> None:
    prove_cases(task, architecture, model)


@parametrized
def test_frozen_answers(task: str, architecture: str, model: str) -> None:
    prove_frozen_texts(task, architecture, model)
