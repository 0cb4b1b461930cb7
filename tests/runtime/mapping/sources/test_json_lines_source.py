"""JSON lines: types of all rows, and slices that are read from where they begin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from edgepipe.errors import InputError
from edgepipe.mapping.sources.json_lines_source import JsonLinesSource
from edgepipe.mapping.sources.storage import StoredFile

ROWS: list[dict[str, Any]] = [
    {
        "text": f"text {number} 日本",
        "n": number if number < 6000 else number + 0.5,
        "tags": [{"a": number}],
        "date": "2020-01-01",
    }
    for number in range(9000)
]


def source(folder: Path, text: str) -> JsonLinesSource:
    path = folder / "a.jsonl"
    path.write_text(text, encoding="utf-8")
    return JsonLinesSource(StoredFile(str(path), path.stat().st_size))


def test_types_are_those_of_all_rows(tmp_path: Path) -> None:
    made = source(tmp_path, "\n\n".join(map(json.dumps, ROWS)) + "\n")
    schema, slices = made.scan(1000, 1 << 20)
    assert schema == pa.schema(
        [
            ("text", pa.string()),
            ("n", pa.float64()),
            ("tags", pa.list_(pa.struct([("a", pa.int64())]))),
            ("date", pa.string()),
        ]
    )
    assert [part.rows for part in slices] == [1000] * 9
    for part in (slices[4], slices[5], slices[0], slices[8]):
        table = made.read(part, schema)
        assert table.to_pylist() == ROWS[part.first : part.first + part.rows]


def test_long_rows_make_small_slices(tmp_path: Path) -> None:
    lines = [json.dumps({"text": "x" * size}) for size in (10, 5000, 10, 10, 20_000, 10)]
    _, slices = source(tmp_path, "\n".join(lines)).scan(4, 6000)
    assert [(part.first, part.rows) for part in slices] == [(0, 4), (4, 1), (5, 1)]


def test_what_a_row_lacks_is_null_and_a_text_alone_is_one(tmp_path: Path) -> None:
    made = source(tmp_path, '\ufeff{"a": 1}\n"only text"\n{"b": null}')
    schema, [part] = made.scan(10, 1000)
    assert made.read(part, schema).to_pylist() == [
        {"a": 1, "text": None, "b": None},
        {"a": None, "text": "only text", "b": None},
        {"a": None, "text": None, "b": None},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": "x"}', "the column a holds values of several types"),
        ('{"a": 1}\n{"a": ', r"a.jsonl, line 2, is not JSON"),
        ("[1]", "line 1, must be a JSON object"),
        ('{"a": "\\ud800"}', "the column a holds values of several types, or what no table holds"),
        ('{"a": 99999999999999999999}', "the column a holds"),
    ],
    ids=["types", "syntax", "list", "surrogate", "large"],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        source(tmp_path, text).scan(10, 1000)


def test_types_that_differ_far_apart_are_told(tmp_path: Path) -> None:
    lines = [json.dumps({"a": 1})] * 4096 + [json.dumps({"a": "x"})]
    with pytest.raises(InputError, match="values of several types in a column"):
        source(tmp_path, "\n".join(lines)).scan(10_000, 1 << 20)


def test_a_file_that_lost_rows_is_told(tmp_path: Path) -> None:
    made = source(tmp_path, '{"a": 1}\n{"a": 2}\n')
    schema, [part] = made.scan(10, 1000)
    made.close()
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(InputError, match="has changed since the job began"):
        made.read(part, schema)


def test_an_empty_file_has_no_columns(tmp_path: Path) -> None:
    schema, slices = source(tmp_path, "\n\n").scan(10, 1000)
    assert (schema.names, slices) == ([], [])
