"""The answers of translation: frozen."""

from __future__ import annotations

from tests.golden.prove import parametrized, prove_cases
from tests.golden.prove_generation import prove_frozen_texts

TASK = "translation"


@parametrized(TASK)
def test_the_golden_file_was_made_of_these_cases(architecture: str, model: str) -> None:
    prove_cases(TASK, architecture, model)


@parametrized(TASK)
def test_frozen_answers(architecture: str, model: str) -> None:
    prove_frozen_texts(TASK, architecture, model)
