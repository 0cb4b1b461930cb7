"""Tables of any library come as small tables."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from edgepipe.errors import InputError
from edgepipe.mapping.sources.tables_of_data import open_tables

TABLE = pa.table({"text": [str(number) for number in range(2500)]})


def test_tables_are_cut() -> None:
    schema, tables, name = open_tables(TABLE.to_batches()[0])
    assert (schema, name) == (TABLE.schema, "the RecordBatch")
    assert [table.num_rows for table in tables] == [1024, 1024, 452]


def test_files_have_their_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nx\n")
    schema, tables, name = open_tables(tmp_path / "a.csv")
    assert (schema.names, [table.to_pylist() for table in tables]) == (["text"], [[{"text": "x"}]])
    assert name == str(tmp_path / "a.csv")
    assert open_tables([tmp_path / "a.csv", tmp_path / "a.csv"])[2] == name


def test_texts_are_no_table() -> None:
    with pytest.raises(InputError, match="a list of texts goes to the pipeline itself"):
        open_tables(iter(["a", "b"]))
