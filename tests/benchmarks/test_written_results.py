"""What stands over a result is the command that makes it, for everybody."""

from __future__ import annotations

import pytest
from benchmarks.written_results import command_of


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param([], "python -m b", id="none"),
        pytest.param(["--keep", "/here"], "python -m b", id="folder"),
        pytest.param(["--rounds", "3", "--output", "/here", "--quick"], "python -m b --rounds 3 --quick", id="between"),
    ],
)
def test_folders_are_left_out(arguments: list[str], expected: str) -> None:
    assert command_of("b", arguments) == expected
