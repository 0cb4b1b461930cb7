"""Lines of files: line ends, byte order marks, and what is not UTF-8."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepipe.errors import InputError
from edgepipe.tables.text_lines import read_lines, read_raw_lines


def test_lines_have_no_ends(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes("\ufeffone\r\n\ntwo\u2028three\nlast".encode())
    assert list(read_lines(file)) == ["one", "", "two\u2028three", "last"]
    assert list(read_raw_lines(file)) == ["one\r\n", "\n", "two\u2028three\n", "last"]


def test_what_is_not_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes(b"fine\nZo\xeb\n")
    with pytest.raises(InputError, match=r"texts.txt, line 2, is not UTF-8 .*iconv"):
        list(read_lines(file))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.txt cannot be read: No such file"):
        list(read_lines(tmp_path / "nowhere.txt"))
