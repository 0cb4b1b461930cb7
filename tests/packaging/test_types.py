"""The installed package says what it takes and gives: its ``py.typed`` is there, and checkers follow it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.conftest import Installation
from tests.typing.checkers import CHECKERS, PAGES, marked_lines


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("page", ["right_calls.py", "wrong_calls.py"])
def test_types_of_the_installed_package(installed: Installation, checker: str, page: str, tmp_path: Path) -> None:
    found = CHECKERS[checker](PAGES / page, tmp_path, installed.command("python"))
    assert set(found) == marked_lines(PAGES / page), found
