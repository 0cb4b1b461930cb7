"""Tables in files: what is read, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pandas
import pyarrow
import pytest
from pyarrow import parquet

from edgepipe.errors import DependencyError, InputError
from edgepipe.tables.table_file import TableFile, is_table
from tests.runtime.processes import run_python

ROWS = [
    {"id": "1", "text": "I love this, really"},
    {"id": "2", "text": 'two\nlines, "quoted"'},
    {"id": "3", "text": ""},
]


def written(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def rows(table: TableFile) -> list[dict[str, object]]:
    return [cells for _, cells in table.rows()]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.ndjson", "t.parquet", "T.CSV"])
def test_what_pandas_writes_is_read(tmp_path: Path, name: str) -> None:
    file, frame = tmp_path / name, pandas.DataFrame(ROWS)
    if file.suffix == ".parquet":
        frame.to_parquet(file)
    elif file.suffix in (".jsonl", ".ndjson"):
        frame.to_json(file, orient="records", lines=True)
    else:
        frame.to_csv(file, index=False, sep="\t" if file.suffix == ".tsv" else ",")
    table = TableFile(file)
    assert is_table(file)
    assert (table.columns, len(table), rows(table)) == (("id", "text"), 3, ROWS)


def test_rows_have_the_line_they_begin_on(tmp_path: Path) -> None:
    table = TableFile(written(tmp_path, "t.csv", 'text\n"a\nb"\n\nc\n'))
    assert [number for number, _ in table.rows()] == [2, 5]
    assert table.place(5) == f"{tmp_path}/t.csv, line 5"


def test_a_cell_may_hold_a_document(tmp_path: Path) -> None:
    table = TableFile(written(tmp_path, "t.csv", f"text\n{'word ' * 100_000}\n"))
    assert rows(table) == [{"text": "word " * 100_000}]


def test_a_table_without_rows(tmp_path: Path) -> None:
    assert TableFile(written(tmp_path, "t.csv", "\ufefftext,id\r\n")).columns == ("text", "id")
    parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), tmp_path / "t.parquet")
    table = TableFile(tmp_path / "t.parquet")
    assert (table.columns, rows(table)) == (("text",), [])


def test_lines_of_json_have_columns_of_their_own(tmp_path: Path) -> None:
    table = TableFile(written(tmp_path, "t.jsonl", '{"text": "a"}\n\n"alone"\n{"id": 1, "text": null}\n'))
    assert table.columns == ("text", "id")
    assert list(table.rows()) == [(1, {"text": "a"}), (3, {"text": "alone"}), (4, {"id": 1, "text": None})]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "a,b\n1,2\n3\n", r"t.csv, line 3, has 1 cells, and the first line 2"),
        ("t.csv", 'a,b\n1,"2"x\n', r"t.csv, line 2, cannot be read as a table: "),
        ("t.csv", 'a,b\n1,"2', r"t.csv, line 2, cannot be read as a table: "),
        ("t.csv", "a;b\n1;2\n", r"the first line of .*t.csv has ';' between the names; write the table with ','"),
        ("t.tsv", "a,b\n1,2\n", r"has ',' between the names"),
        ("t.csv", "a,a\n1,2\n", r"t.csv has two columns 'a'"),
        ("t.csv", b"text\nZo\xeb\n", r"t.csv, line 2, is not UTF-8"),
        ("t.jsonl", '{"text": "a"}\n{"text": \n', r"t.jsonl, line 2, is not JSON"),
        ("t.jsonl", "[1]\n", r"t.jsonl, line 1, must be a JSON object with named columns, got \[1\]"),
        ("t.parquet", "text\n", r"t.parquet cannot be read as Parquet: "),
    ],
)
def test_a_damaged_table_is_refused_when_it_is_opened(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TableFile(written(tmp_path, name, content))


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_table_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} cannot be read.*No such file"):
        TableFile(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=rf"{name} is no regular file"):
        TableFile(tmp_path / name)


def test_without_pyarrow_an_error_names_the_extra(tmp_path: Path) -> None:
    program = f"""
        from pathlib import Path
        from edgepipe.tables.table_file import TableFile
        try:
            TableFile(Path({str(tmp_path)!r}) / "t.parquet")
        except {DependencyError.__module__}.DependencyError as error:
            print(error)
    """.replace("from pathlib", "import edgepipe.errors\n        from pathlib", 1)
    assert "pip install 'edgepipe[tables]'" in run_python(program, blocked=("pyarrow",))
