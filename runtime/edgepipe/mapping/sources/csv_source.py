"""Comma-separated values (RFC 4180) and those with tabs; the first line has the names of the columns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pyarrow as pa

from edgepipe.mapping.sources.source import Slice, TableSource
from edgepipe.mapping.sources.storage import StoredFile
from edgepipe.mapping.sources.text_stream import TextStream
from edgepipe.tables.table_file import read_csv_records
from edgepipe.tables.text_lines import decode_lines


class CsvSource(TableSource):
    """A file of comma-separated values. Each cell is the text that stands there: nobody guesses numbers or dates."""

    def __init__(self, file: StoredFile) -> None:
        super().__init__(file)
        self._stream = TextStream(file)
        self._delimiter = "\t" if ".tsv" in file.name.lower() else ","
        self._columns: list[str] = []

    def scan(self, most_rows: int, most_bytes: int) -> tuple[pa.Schema, list[Slice]]:
        """See :meth:`TableSource.scan`."""
        records = self._records(0, ())
        self._columns = next(records, [])
        slices: list[Slice] = []
        begin = first = rows = 0
        before = self._stream.position
        for _ in records:
            after = self._stream.position
            if rows and (rows == most_rows or after - begin > most_bytes):
                slices.append(Slice(first, rows, begin))
                first, rows = first + rows, 0
            if not rows:
                begin = before
            rows, before = rows + 1, after
        if rows:
            slices.append(Slice(first, rows, begin))
        return pa.schema([(name, pa.string()) for name in self._columns]), slices

    def read(self, part: Slice, schema: pa.Schema) -> pa.Table:
        """See :meth:`TableSource.read`."""
        columns = self._columns = self._columns or next(self._records(0, ()), [])
        records = list(islice(self._records(part.offset, columns), part.rows))
        if len(records) < part.rows:
            raise self.fewer_rows_error()
        cells = dict(zip(columns, zip(*records, strict=True), strict=True))
        return pa.table([pa.array(cells[name], pa.string()).cast(schema.field(name).type) for name in schema.names],
                        schema=schema)  # fmt: skip

    def close(self) -> None:
        """See :meth:`TableSource.close`."""
        self._stream.close()

    def _records(self, offset: int, columns: tuple[str, ...] | list[str]) -> Iterator[list[str]]:
        lines = decode_lines(self._stream.lines(offset), self.file.path)
        return (cells for _, cells in read_csv_records(lines, self.file.path, self._delimiter, columns))
