"""Tables as files of each format, and many files of one format as one.

To add a format: a writer, a joiner, and an entry in :data:`FORMATS`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from edgepipe.tables.table_writer import WRITERS

# The key of the metadata of a Parquet file under which the job is described.
METADATA = b"edgepipe"

_COMPRESSION = "zstd"


@dataclass(frozen=True, slots=True)
class Format:
    """How tables are written.

    Attributes:
        write: Writes a table to a path.
        join: Writes what several files hold, in their order, to a path.
    """

    write: Callable[[pa.Table, Path], None]
    join: Callable[[Sequence[Path], Path], None]


def _write_parquet(table: pa.Table, path: Path) -> None:
    parquet.write_table(table, path, compression=_COMPRESSION)


def _join_parquet(parts: Sequence[Path], path: Path) -> None:
    schema = parquet.read_schema(parts[0])
    with parquet.ParquetWriter(path, schema, compression=_COMPRESSION) as writer:
        for part in parts:
            writer.write_table(parquet.read_table(part, schema=schema))


def _write_rows(end: str) -> Callable[[pa.Table, Path], None]:
    def write(table: pa.Table, path: Path) -> None:
        writer = WRITERS[end](path, table.schema.names, None)
        try:
            for batch in table.to_batches(max_chunksize=1024):
                for row in batch.to_pylist():
                    writer.write(row)
        except BaseException:
            writer.discard()
            raise
        writer.close()

    return write


def _join_lines(parts: Sequence[Path], path: Path) -> None:
    with path.open("wb") as target:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)


def _join_csv(parts: Sequence[Path], path: Path) -> None:
    """One after another; each begins with the same names, which are kept once."""
    header = _read_csv_header(parts[0])
    with path.open("wb") as target:
        target.write(header)
        for part in parts:
            with part.open("rb") as source:
                source.seek(len(header))
                shutil.copyfileobj(source, target, 1 << 20)


def _read_csv_header(path: Path) -> bytes:
    """The first record; a name in quotes may have several lines."""
    header = b""
    with path.open("rb") as source:
        while line := source.readline():
            header += line
            if header.count(b'"') % 2 == 0:
                break
    return header


FORMATS: Mapping[str, Format] = {
    "parquet": Format(_write_parquet, _join_parquet),
    "jsonl": Format(_write_rows(".jsonl"), _join_lines),
    "csv": Format(_write_rows(".csv"), _join_csv),
}


def add_metadata(table: pa.Table, description: str) -> pa.Table:
    """A table whose schema says, as JSON, what its results come from."""
    known: dict[Any, Any] = dict(table.schema.metadata or {})
    return table.replace_schema_metadata({**known, METADATA: description.encode()})
