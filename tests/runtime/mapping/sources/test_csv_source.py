"""CSV and TSV: cells are the texts that stand there, and slices begin at records."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from edgepipe.errors import InputError
from edgepipe.mapping.sources.csv_source import CsvSource
from edgepipe.mapping.sources.storage import StoredFile

ROWS = [["007", f'a "quoted" text,\nof {number} lines\r\n', "2020-01-01" if number % 3 else ""] for number in range(50)]
NAMES = ["id", "text", "when,\nnamed oddly"]


def source(folder: Path, text: str, name: str = "a.csv") -> CsvSource:
    path = folder / name
    path.write_bytes(text.encode())
    return CsvSource(StoredFile(str(path), path.stat().st_size))


def written(delimiter: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows([NAMES, *ROWS])
    return out.getvalue()


@pytest.mark.parametrize(("delimiter", "name"), [(",", "a.csv"), ("\t", "a.tsv")], ids=["csv", "tsv"])
def test_slices_begin_at_records(tmp_path: Path, delimiter: str, name: str) -> None:
    made = source(tmp_path, written(delimiter), name)
    schema, slices = made.scan(8, 1 << 20)
    assert schema.names == NAMES
    assert {str(field.type) for field in schema} == {"string"}
    assert [part.rows for part in slices] == [8] * 6 + [2]
    for part in (slices[3], slices[4], slices[0], slices[6]):
        rows = [dict(zip(NAMES, row, strict=True)) for row in ROWS[part.first : part.first + part.rows]]
        assert made.read(part, schema).to_pylist() == rows
    again = CsvSource(made.file)  # without a scan, as another process has it
    assert again.read(slices[2], schema).column("id").to_pylist() == ["007"] * 8


def test_long_records_make_small_slices(tmp_path: Path) -> None:
    text = "text\n" + "".join("x" * size + "\n" for size in (10, 5000, 10, 10, 20_000, 10))
    _, slices = source(tmp_path, text).scan(4, 6000)
    assert [(part.first, part.rows) for part in slices] == [(0, 4), (4, 1), (5, 1)]


def test_a_table_without_rows_has_columns(tmp_path: Path) -> None:
    schema, slices = source(tmp_path, "\ufefftext,label\n").scan(8, 100)
    assert (schema.names, slices) == (["text", "label"], [])
    assert source(tmp_path, "", "b.csv").scan(8, 100)[0].names == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", "line 3, has 1 cells, and the first line 2"),
        ("a,a\n", "two columns 'a'"),
        ("a;b\n1;2\n", "has ';' between the names"),
        ('a\n"open', "cannot be read as a table"),
        ("a\n\xff", "a"),
    ],
    ids=["cells", "names", "delimiter", "quotes", "fine"],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    made = source(tmp_path, text)
    if message == "a":
        assert made.scan(8, 100)[0].names == ["a"]
        return
    with pytest.raises(InputError, match=message):
        made.scan(8, 100)


def test_what_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a\nfine\n\xff\xfe\n")
    with pytest.raises(InputError, match="line 3, is not UTF-8"):
        CsvSource(StoredFile(str(path), 10)).scan(8, 100)


def test_a_file_that_lost_rows_is_told(tmp_path: Path) -> None:
    made = source(tmp_path, "a\n1\n2\n")
    schema, [part] = made.scan(10, 1000)
    made.close()
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises(InputError, match="has changed since the job began"):
        made.read(part, schema)
