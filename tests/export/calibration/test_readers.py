"""Files as tables, whatever task they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepipe.errors import InputError
from edgepipe_export.calibration.readers import Table, check_path, read_table


def read(folder: Path, name: str, content: str) -> Table:
    (folder / name).write_text(content, encoding="utf-8", newline="")
    return read_table(folder / name)


def test_a_row_is_found_on_the_line_that_it_begins_on(tmp_path: Path) -> None:
    table = read(tmp_path, "a.txt", "\r\none\r\n \r\ntwo")
    assert table == Table(({"text": "one"}, {"text": "two"}), (2, 4), (), "a.txt")
    assert table.where(1) == "a.txt, line 4"
    assert read(tmp_path, "a.conll", "-DOCSTART- O\n\nOne O\ntwo O\n\n\nThree O").lines == (3, 7)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_row_of_several_lines_begins_on_its_first(newline: str, tmp_path: Path) -> None:
    table = read(
        tmp_path, "a.csv", newline.join(["text", '"one', 'two"', "", "three", '"four', "", 'five"', "six", ""])
    )
    assert [row["text"] for row in table.rows] == [
        newline.join(("one", "two")),
        "three",
        newline.join(("four", "", "five")),
        "six",
    ]
    assert table.lines == (2, 5, 6, 9)
    with pytest.raises(InputError, match="line 2, has 2 columns, and the first line has 1"):
        read(tmp_path, "a.csv", newline.join(["text", '"one', 'two",more', ""]))


def test_the_ending_counts_in_any_case_and_an_unknown_one_has_a_text_a_line(tmp_path: Path) -> None:
    assert read(tmp_path, "a.CSV", "text,more\nA,b\n").rows == ({"text": "A"},)
    assert read(tmp_path, "a.md", "text,more\n").rows == ({"text": "text,more"},)


def test_a_table_has_what_every_row_has(tmp_path: Path) -> None:
    table = read(tmp_path, "a.jsonl", '{"text": "A", "label": 1, "id": 7}\n{"Text": "B"}\n')
    assert table.roles == {"text"}
    assert table.columns == ("text", "label", "id", "Text")
    assert Table((), (), (), "none").roles == frozenset()


def test_columns_without_names_are_told_apart(tmp_path: Path) -> None:
    assert not read(tmp_path, "a.tsv", "A\t1\n").named
    assert read(tmp_path, "a.tsv", "label\ttext\n1\tA\n").named


def test_a_prefix_of_the_language_goes_only_where_every_word_has_it(tmp_path: Path) -> None:
    assert read(tmp_path, "a.conll", "en:One O\nzh-min:two O\n").rows[0]["words"] == ["One", "two"]
    assert read(tmp_path, "a.conll", "en:One O\ntwo O\n").rows[0]["words"] == ["en:One", "two"]


def test_a_path_is_checked_before_the_work(tmp_path: Path) -> None:
    assert check_path(None) is None
    (tmp_path / "a.txt").touch()
    assert check_path(str(tmp_path / "a.txt")) == tmp_path / "a.txt"
    with pytest.raises(InputError, match=r"none\.txt is not there; name the file"):
        check_path(tmp_path / "none.txt")
    with pytest.raises(InputError, match="is a directory; name the file"):
        check_path(tmp_path)
