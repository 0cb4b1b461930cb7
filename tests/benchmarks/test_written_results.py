"""What stands over a result is the command that makes it, for everybody; tables have a cell for each column."""

from __future__ import annotations

import pytest
from benchmarks.written_results import RESULTS, command_of


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param([], "python -m b", id="none"),
        pytest.param(["--keep", "/here"], "python -m b", id="folder"),
        pytest.param(["--peers-python", "/here/python", "--only", "w8"], "python -m b --only w8", id="interpreter"),
        pytest.param(["--rounds", "3", "--output", "/here", "--quick"], "python -m b --rounds 3 --quick", id="between"),
    ],
)
def test_folders_are_left_out(arguments: list[str], expected: str) -> None:
    assert command_of("b", arguments) == expected


@pytest.mark.parametrize("name", sorted(page.name for page in RESULTS.glob("*.md")))
def test_rows_have_a_cell_for_each_column(name: str) -> None:
    columns = None
    for line in (RESULTS / name).read_text(encoding="utf-8").splitlines():
        cells = line.count("|") if line.startswith("|") else None
        if cells is not None and columns is not None:
            assert cells == columns, line
        columns = cells
