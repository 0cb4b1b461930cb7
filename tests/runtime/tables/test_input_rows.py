"""Rows of texts, lines and tables, and which of them have an input."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from edgepipe.errors import InputError
from edgepipe.tables.input_rows import inputs_of, rows_of_lines, rows_of_table, rows_of_texts
from edgepipe.tables.table_file import TableFile


def test_blank_lines_have_no_input() -> None:
    rows = list(rows_of_lines(["one\n", "\n", " \r\n", "two"]))
    assert [row.value for row in rows] == ["one", None, None, "two"]
    assert [row.cells for row in rows] == [{"text": "one"}, {"text": ""}, {"text": " "}, {"text": "two"}]
    with pytest.warns(UserWarning, match=r"blank lines, or rows without a text, that were skipped: 2"):
        assert list(inputs_of(rows)) == ["one", "two"]


def test_texts_that_were_given_are_inputs_whatever_they_are() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(inputs_of(rows_of_texts(["", "a"]))) == ["", "a"]


def test_rows_of_a_table(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"text": "a", "id": 1}\n{"text": null}\n{"text": 3}\n', encoding="utf-8")
    rows = rows_of_table(TableFile(file), {"text": "text"})
    assert (next(rows).value, next(rows).value) == ("a", None)
    with pytest.raises(InputError, match=r"t.jsonl, line 3: the column text has 3"):
        next(rows)
