"""Tables as files of each format, and several of them as one."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from edgepipe.mapping.part_files import FORMATS, METADATA, add_metadata

TABLE = pa.table(
    {
        'na"me,\nodd': ["a,b", 'c"d', None],
        "vector": pa.array([[1.0, 2.0], None, [float("nan"), 3.0]], pa.list_(pa.float32())),
        "entities": [[{"word": "x", "start": None}], [], None],
    }
)


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()  # type: ignore[no-any-return]
    with path.open(encoding="utf-8", newline="") as stream:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in stream]
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_joined_is_what_was_written(tmp_path: Path, name: str) -> None:
    parts = []
    for number, table in enumerate([TABLE, TABLE.slice(0, 0), TABLE.slice(1)]):
        parts.append(tmp_path / f"{number}.{name}")
        FORMATS[name].write(table, parts[-1])
    FORMATS[name].join(parts, tmp_path / f"all.{name}")
    FORMATS[name].write(pa.concat_tables([TABLE, TABLE.slice(1)]), tmp_path / f"once.{name}")
    found = read(tmp_path / f"all.{name}")
    assert repr(found) == repr(read(tmp_path / f"once.{name}"))
    assert len(found) == 5
    assert list(found[0]) == TABLE.schema.names


def test_the_same_table_is_the_same_file(tmp_path: Path) -> None:
    for name, form in FORMATS.items():
        form.write(TABLE, tmp_path / f"a.{name}")
        form.write(TABLE, tmp_path / f"b.{name}")
        assert (tmp_path / f"a.{name}").read_bytes() == (tmp_path / f"b.{name}").read_bytes()


def test_cells_that_are_no_texts_are_json(tmp_path: Path) -> None:
    FORMATS["csv"].write(TABLE, tmp_path / "a.csv")
    [first, second, third] = read(tmp_path / "a.csv")
    assert json.loads(first["entities"]) == [{"word": "x", "start": None}]
    assert json.loads(third["vector"]) == [None, 3.0], "JSON has no nan"
    assert second["vector"] == ""


def test_parquet_says_what_its_results_come_from(tmp_path: Path) -> None:
    table = add_metadata(TABLE.replace_schema_metadata({"mine": "kept"}), '{"dtype": "int8"}')
    FORMATS["parquet"].write(table, tmp_path / "a.parquet")
    metadata = parquet.read_schema(tmp_path / "a.parquet").metadata
    assert (metadata[METADATA], metadata[b"mine"]) == (b'{"dtype": "int8"}', b"kept")
