"""``examples/notebook``: every cell runs, and shows what the notebook shows, but for what varies."""

from __future__ import annotations

import nbformat
import pytest

from tests.examples.execute_notebook import NOTEBOOK, execute


@pytest.fixture(scope="module")
def kept() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def shown(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """What each cell of code shows; nothing of those whose output is another on another machine."""
    return [
        [output.get("text") or output["data"]["text/plain"] for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code" and "varies" not in cell.metadata.get("tags", [])
    ]


def test_it_shows_what_it_shows_here(kept: nbformat.NotebookNode) -> None:
    ran = execute()
    assert shown(ran) == shown(kept), "run: python -m tests.examples.execute_notebook"
    varying = [cell for cell in ran.cells if "varies" in cell.metadata.get("tags", [])]
    assert len(varying) == 2
    assert all(cell.outputs for cell in varying)


def test_the_outputs_that_are_kept_are_those_of_one_run_from_top_to_bottom(kept: nbformat.NotebookNode) -> None:
    cells = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    nbformat.validate(kept)


def test_nothing_of_a_machine_is_kept() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not any(word in text for word in ("site-packages", "/home", "/tmp", "/root", "Warning"))
