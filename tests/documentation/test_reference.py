"""The reference names what the code has: recipes, their options, targets, known checkpoints, and columns of data."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

import edgepipe
import edgepipe_export
from edgepipe.bundle.layout import STORED_AS, SUFFIXES
from edgepipe.bundle.tasks import TASKS
from edgepipe.pipelines.registry import task_class
from edgepipe_export.calibration.readers import NAMES
from edgepipe_export.quantization.quantize import RECIPES, default_options, list_dtypes
from edgepipe_export.quantization.target import TARGETS
from edgepipe_models import recipes
from tests.documentation.pages import text

PAGE = "docs/reference/recipes.md"
PYTHON = "docs/reference/python.md"


def rows(page: str, heading: str = "") -> list[list[str]]:
    """The rows of the tables in a section, cell by cell, without backticks; by default before the first section."""
    first, *sections = re.split(r"^## ", text(page), flags=re.MULTILINE)
    content = next(part for part in sections if part.startswith(f"{heading}\n")) if heading else first
    lines = re.findall(r"^\|(.+)\|$", content, re.MULTILINE)
    return [[cell.strip() for cell in line.replace("`", "").split("|")] for line in lines if not line.startswith("---")]


def test_every_dtype_has_a_row() -> None:
    told = {cells[0] for cells in rows(PAGE)[1:]}
    assert told == set(list_dtypes())
    assert told <= {*SUFFIXES, *STORED_AS}


def test_every_target_has_a_row() -> None:
    told = {name for cells in rows(PAGE, "Targets") for name in cells[0].split(", ")}
    assert set(TARGETS) | {"this"} == told - {"target"}


def test_every_option_has_its_default() -> None:
    told: dict[str, dict[str, str]] = {}
    current: tuple[str, ...] = ()
    for names, option, default, _ in rows(PAGE, "Options")[1:]:
        current = tuple(names.split(", ")) if names else current
        for name in current:
            told.setdefault(name, {})[option] = default
    for dtype in RECIPES:
        options = default_options(dtype)
        # q4f16's blocks are q4's own options.
        expected = {each.name: repr(getattr(options, each.name)) for each in fields(options) if each.name != "q4"}
        assert told.get(dtype, {}) == expected, dtype


def test_the_known_checkpoints_are_those_that_come_along() -> None:
    told = [tuple(cells) for cells in rows(PAGE, "Known checkpoints")[1:]]
    assert told == [(known.name, known.model, known.revision, ", ".join(known.dtypes)) for known in recipes()]


@pytest.mark.parametrize("role", NAMES)
def test_every_column_has_its_names(role: str) -> None:
    told = {cells[0]: tuple(cells[1].split(", ")) for cells in rows("docs/reference/calibration.md", "Columns")[1:]}
    assert told[role] == NAMES[role]


def test_every_public_name_is_on_the_page_of_python() -> None:
    documented = set(re.findall(r"^\.\. auto(?:class|function):: ([\w.]+)$", text(PYTHON), re.MULTILINE))
    names = {f"{module.__name__}.{name}" for module in (edgepipe, edgepipe_export) for name in module.__all__}
    assert names - documented <= {"edgepipe.EdgepipeError", "edgepipe.__version__"}  # the first is with the errors
    assert ".. automodule:: edgepipe.errors" in text(PYTHON)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_on_the_page_of_python(task: str) -> None:
    kind = task_class(task)
    assert f".. autoclass:: {kind.__module__}.{kind.__qualname__}\n" in text(PYTHON), task
