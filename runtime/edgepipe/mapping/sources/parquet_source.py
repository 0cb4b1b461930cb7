"""Parquet files (https://parquet.apache.org), by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from edgepipe.errors import InputError, first_line
from edgepipe.mapping.sources.source import Slice, TableSource
from edgepipe.mapping.sources.storage import StoredFile

# How much of a column is read at once.
_BUFFER = 1 << 20

# Rows that are decoded at once.
_ROWS = 1024


class ParquetSource(TableSource):
    """A Parquet file. Its row groups are decoded piece by piece, so they may be larger than memory."""

    def __init__(self, file: StoredFile) -> None:
        super().__init__(file)
        self._opened: Any = None
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._next = -1  # the row that comes next of the batches
        self._rest: pa.Table | None = None
        self._names: tuple[str, ...] = ()

    def scan(self, most_rows: int, most_bytes: int) -> tuple[pa.Schema, list[Slice]]:
        """See :meth:`TableSource.scan`."""
        opened = self._open()
        groups = [opened.metadata.row_group(number) for number in range(opened.metadata.num_row_groups)]
        rows = sum(group.num_rows for group in groups)
        size = sum(group.total_byte_size for group in groups)
        step = max(1, min(most_rows, most_bytes * rows // size if size else most_rows))
        slices = [Slice(first, min(step, rows - first)) for first in range(0, rows, step)]
        return opened.schema_arrow, slices

    def read(self, part: Slice, schema: pa.Schema) -> pa.Table:
        """See :meth:`TableSource.read`."""
        names = tuple(schema.names)
        try:
            if part.first != self._next or names != self._names:
                self._seek(part.first, names)
            table = self._take(part.rows)
            return table.select(names).cast(schema)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise InputError(f"{self.file.path} cannot be read as Parquet: {first_line(error)}") from error

    def close(self) -> None:
        """See :meth:`TableSource.close`."""
        if self._opened is not None:
            self._opened.close(force=True)
        self._opened, self._next, self._rest, self._batches = None, -1, None, iter(())

    def _open(self) -> Any:
        if self._opened is None:
            try:
                self._opened = parquet.ParquetFile(self.file.open(), buffer_size=_BUFFER)
            except (OSError, ValueError, pa.ArrowException) as error:
                raise InputError(f"{self.file.path} cannot be read as Parquet: {first_line(error)}") from error
        return self._opened

    def _seek(self, row: int, names: tuple[str, ...]) -> None:
        """Begin to read with the row group that has a row, and pass over those before it."""
        opened = self._open()
        begin = group = 0
        while group < opened.metadata.num_row_groups and begin + opened.metadata.row_group(group).num_rows <= row:
            begin += opened.metadata.row_group(group).num_rows
            group += 1
        groups = list(range(group, opened.metadata.num_row_groups))
        self._batches = opened.iter_batches(batch_size=_ROWS, row_groups=groups, columns=list(names))
        self._names, self._next, self._rest = names, begin, None
        if row > begin:
            self._take(row - begin)

    def _take(self, rows: int) -> pa.Table:
        """The next rows."""
        pieces = [] if self._rest is None else [self._rest]
        count = sum(piece.num_rows for piece in pieces)
        while count < rows:
            batch = next(self._batches, None)
            if batch is None:
                raise self.fewer_rows_error()
            pieces.append(pa.Table.from_batches([batch]))
            count += batch.num_rows
        table = pa.concat_tables(pieces)
        self._rest = table.slice(rows) if count > rows else None
        self._next += rows
        return table.slice(0, rows)
