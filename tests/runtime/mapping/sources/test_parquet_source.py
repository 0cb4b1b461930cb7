"""Parquet: slices across row groups, in order and not."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from edgepipe.errors import InputError
from edgepipe.mapping.sources.parquet_source import ParquetSource
from edgepipe.mapping.sources.storage import StoredFile

TABLE = pa.table({"id": list(range(5000)), "text": [f"text {number}" for number in range(5000)], "more": [None] * 5000})


@pytest.fixture(params=[700, 5000], ids=["small-groups", "one-group"])
def made(tmp_path: Path, request: pytest.FixtureRequest) -> ParquetSource:
    path = tmp_path / "a.parquet"
    parquet.write_table(TABLE, path, row_group_size=request.param)
    return ParquetSource(StoredFile(str(path), path.stat().st_size))


def test_slices_in_any_order(made: ParquetSource) -> None:
    schema, slices = made.scan(999, 1 << 30)
    assert schema == TABLE.schema
    assert [part.rows for part in slices] == [999] * 5 + [5]
    for part in (slices[0], slices[1], slices[4], slices[5], slices[1], slices[2]):
        assert made.read(part, schema).equals(TABLE.slice(part.first, part.rows))
    two = pa.schema([schema.field("text"), schema.field("id")])
    assert made.read(slices[3], two).equals(TABLE.select(["text", "id"]).slice(2997, 999))
    made.close()
    assert made.read(slices[5], schema).num_rows == 5


def test_wide_rows_make_small_slices(made: ParquetSource) -> None:
    _, slices = made.scan(4096, 20_000)
    assert 1 < slices[0].rows < 2500
    assert sum(part.rows for part in slices) == 5000


def test_a_table_without_rows_has_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(TABLE.slice(0, 0), path)
    schema, slices = ParquetSource(StoredFile(str(path), 1)).scan(10, 10)
    assert (schema.names, slices) == (TABLE.schema.names, [])


@pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1" * 10], ids=["empty", "text", "magic"])
def test_what_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet cannot be read as Parquet"):
        ParquetSource(StoredFile(str(path), len(content))).scan(10, 10)
