"""feature-extraction beside transformers: frozen answers and live ones."""

from __future__ import annotations

from collections.abc import Callable

from tests.conftest import Exported
from tests.golden import prove

TASK = "feature-extraction"
every_model = prove.parametrized(TASK)


@every_model
def test_the_golden_file_has_today_s_cases(architecture: str, model: str) -> None:
    prove.prove_cases(TASK, architecture, model)


@every_model
def test_as_frozen(architecture: str, model: str, tiny_export: Callable[..., Exported]) -> None:
    prove.prove_frozen(TASK, architecture, model, tiny_export)


def test_as_transformers_answers_here(tiny_export: Callable[..., Exported]) -> None:
    prove.prove_live(TASK, "bert", TASK, tiny_export)
