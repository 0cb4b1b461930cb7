"""JSON objects, one a line (https://jsonlines.org)."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pyarrow as pa

from edgepipe.errors import InputError
from edgepipe.mapping.sources.source import Slice, TableSource, make_table
from edgepipe.mapping.sources.storage import StoredFile
from edgepipe.mapping.sources.text_stream import TextStream
from edgepipe.tables.json_lines import parse_json_line

# Rows whose types are found at once.
_CHUNK = 4096


class JsonLinesSource(TableSource):
    """A file with a JSON object a line. The types of its columns are those of all rows; blank lines are passed over."""

    def __init__(self, file: StoredFile) -> None:
        super().__init__(file)
        self._stream = TextStream(file)

    def scan(self, most_rows: int, most_bytes: int) -> tuple[pa.Schema, list[Slice]]:
        """See :meth:`TableSource.scan`."""
        schema = pa.schema([])
        slices: list[Slice] = []
        waiting: list[Any] = []
        begin, first, rows, size = 0, 0, 0, 0
        for number, line in enumerate(self._stream.lines(), 1):
            if not line.strip():
                continue
            if rows and (rows == most_rows or size + len(line) > most_bytes):
                slices.append(Slice(first, rows, begin))
                first, rows, size = first + rows, 0, 0
            if not rows:
                begin = self._stream.position - len(line)
            rows, size = rows + 1, size + len(line)
            waiting.append(self._parse(line, number))
            if len(waiting) == _CHUNK:
                schema, waiting = self._widen(schema, waiting), []
        if rows:
            slices.append(Slice(first, rows, begin))
        return self._widen(schema, waiting) if waiting else schema, slices

    def read(self, part: Slice, schema: pa.Schema) -> pa.Table:
        """See :meth:`TableSource.read`."""
        lines = (line for line in self._stream.lines(part.offset) if line.strip())
        rows = [self._parse(line, 0) for line in islice(lines, part.rows)]
        if len(rows) < part.rows:
            raise self.fewer_rows_error()
        return make_table(rows, schema, self.file.path)

    def close(self) -> None:
        """See :meth:`TableSource.close`."""
        self._stream.close()

    def _parse(self, line: bytes, number: int) -> Any:
        value = parse_json_line(line, f"{self.file.path}, line {number},")
        if isinstance(value, str):
            return {"text": value}
        if not isinstance(value, dict):
            raise InputError(
                f"{self.file.path}, line {number}, must be a JSON object with named columns, got {value!r:.60}"
            )
        return value

    def _widen(self, schema: pa.Schema, rows: list[Any]) -> pa.Schema:
        """The types of columns that hold what they held and these rows too."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        found = pa.schema([(name, self._infer([row.get(name) for row in rows], name)) for name in names])
        try:
            return pa.unify_schemas([schema, found], promote_options="permissive")
        except pa.ArrowException as error:
            raise InputError(f"{self.file.path} has values of several types in a column: {error}") from error

    def _infer(self, values: list[Any], name: str) -> pa.DataType:
        try:
            return pa.array(values).type  # `infer_type` does not look whether all fit
        except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError) as error:
            raise InputError(
                f"{self.file.path}: the column {name} holds values of several types, or what no table holds ({error})"
            ) from error
