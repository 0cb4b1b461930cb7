"""Tables that are written: what other tools read of them, and nothing half written."""

from __future__ import annotations

import csv
import datetime
import json
import math
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from edgepipe.errors import InputError
from edgepipe.tables.table_writer import check_output, write_table

ROWS: list[dict[str, Any]] = [
    {"text": 'Zoë, "a"\nb', "score": 0.1234567890123, "output": [{"label": "A", "score": 1.0}]},
    {"text": "", "score": None, "output": None},
    {"text": "c", "score": 1.0, "output": []},
]


def write(path: Path, rows: list[dict[str, Any]], **arguments: Any) -> Path:
    with write_table(path, **arguments) as writer:
        for row in rows:
            writer.write(row)
    assert [file.name for file in path.parent.iterdir()] == [path.name], "nothing is left beside it"
    return path


def test_csv(tmp_path: Path) -> None:
    with write(tmp_path / "out.csv", ROWS).open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["text"] for row in found] == [row["text"] for row in ROWS]
    assert [row["score"] for row in found] == ["0.1234567890123", "", "1.0"]
    assert [row["output"] and json.loads(row["output"]) for row in found] == [ROWS[0]["output"], "", []]


def test_jsonl(tmp_path: Path) -> None:
    rows = [*ROWS, {"text": "d", "score": math.nan, "day": datetime.date(2026, 1, 2), "bad": "\udcff"}]
    lines = write(tmp_path / "out.jsonl", rows).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines[:3]] == ROWS
    assert json.loads(lines[3]) == {"text": "d", "score": None, "day": "2026-01-02", "bad": "\udcff"}


def test_parquet(tmp_path: Path) -> None:
    assert parquet.read_table(write(tmp_path / "out.parquet", ROWS)).to_pylist() == ROWS


def test_parquet_has_one_type_for_a_column_of_many_rows(tmp_path: Path) -> None:
    rows = [{"text": "a", "output": []} for _ in range(3000)] + [ROWS[0]]
    found = parquet.read_table(write(tmp_path / "out.parquet", rows)).to_pylist()
    assert (len(found), found[0]["output"], found[-1]["output"]) == (3001, [], ROWS[0]["output"])


def test_parquet_keeps_the_types_of_the_table_it_was_read_from(tmp_path: Path) -> None:
    schema = pyarrow.schema([("id", pyarrow.int8()), ("day", pyarrow.date32()), ("text", pyarrow.large_string())])
    rows = [{"id": 1, "day": datetime.date(2026, 1, 2), "text": "a", "label": "A"}]
    found = parquet.read_table(write(tmp_path / "out.parquet", rows, schema=schema))
    assert list(found.schema)[:3] == list(schema)
    assert found.to_pylist() == rows


@pytest.mark.parametrize("rows", [[{"id": 1}, {"id": "a"}], [{"id": 1}] * 2000 + [{"id": "a"}]])
def test_a_column_of_several_types_is_no_parquet(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError, match=r"values of several types .*write .jsonl"):
        write(tmp_path / "out.parquet", rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_a_table_without_rows_is_one(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, [], columns=["id", "text"])
    if name == "out.parquet":
        assert parquet.read_table(tmp_path / name).column_names == ["id", "text"]
    else:
        assert (tmp_path / name).read_text() == ("id,text\n" if name == "out.csv" else "")


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
@pytest.mark.parametrize("failure", [InputError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path: Path, name: str, failure: type[BaseException]) -> None:
    (tmp_path / name).write_text("before")

    def fail() -> None:
        with write_table(tmp_path / name) as writer:
            writer.write(ROWS[0])
            raise failure

    with pytest.raises(failure):
        fail()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "before")]


def test_an_output_is_checked_before_the_work(tmp_path: Path) -> None:
    read = tmp_path / "in.csv"
    read.write_text("text\n")
    check_output(tmp_path / "out.csv", [read])
    for path, message in (
        (tmp_path / "out.xlsx", r"out.xlsx must end in .csv, .jsonl, .parquet"),
        (tmp_path / "nowhere" / "out.csv", r"cannot be written: there is no folder .*nowhere"),
        (tmp_path / "." / "in.csv", r"in.csv is read as well; name another file"),
    ):
        with pytest.raises(InputError, match=message):
            check_output(path, [read])
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"folder.csv cannot be written: it is a folder"):
        check_output(tmp_path / "folder.csv")
