"""mypy and pyright know what a pipeline takes and gives: right code passes, and each mistake is found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.typing.checkers import CHECKERS, PAGES, ROOTS, marked_lines

by_checker = pytest.mark.parametrize("checker", CHECKERS)


@by_checker
def test_right_calls_have_no_mistakes(checker: str, tmp_path: Path) -> None:
    assert CHECKERS[checker](PAGES / "right_calls.py", tmp_path, sys.executable, ROOTS) == {}


@by_checker
def test_every_wrong_call_is_found_and_nothing_else(checker: str, tmp_path: Path) -> None:
    page = PAGES / "wrong_calls.py"
    found = CHECKERS[checker](page, tmp_path, sys.executable, ROOTS)
    assert marked_lines(page)
    assert set(found) == marked_lines(page), found
