"""Rows written as a table, whole or not at all: beside its destination first, then renamed into place.

To add a format: a class with ``write`` and ``close``, and an entry in :data:`WRITERS`.
"""

from __future__ import annotations

import csv
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from edgepipe.bundle.strict_json import make_finite
from edgepipe.errors import InputError
from edgepipe.tables.table_file import load_parquet

# Rows that become one batch of a Parquet file.
_ROWS = 1024


class RowWriter(Protocol):
    """Writes rows to a file."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row; the first has all columns."""
        ...

    def close(self) -> None:
        """Write what is not written yet."""
        ...

    def discard(self) -> None:
        """Leave the file as it is: nobody wants it."""
        ...


def check_output(path: Path, inputs: Sequence[Path] = ()) -> None:
    """Make sure that a table can be written, before the long work starts.

    Args:
        path: The destination.
        inputs: Files that are read meanwhile.

    Raises:
        DependencyError: it is Parquet, and pyarrow is missing.
        InputError: the name says no known format, the folder is missing, or it is one of the inputs.
    """
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"{path} must end in {', '.join(WRITERS)}, which says how it is written")
    if path.is_dir():
        raise InputError(f"{path} cannot be written: it is a folder; name a file")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}; make it first")
    if path.exists() and any(file.exists() and path.samefile(file) for file in inputs):
        raise InputError(f"{path} is read as well; name another file for the results")
    if path.suffix.lower() == ".parquet":
        load_parquet()


@contextmanager
def write_table(path: Path, columns: Sequence[str] = (), schema: Any = None) -> Iterator[RowWriter]:
    """A table that takes the place of `path` when the block ends well; otherwise what was there stays.

    Args:
        path: The destination.
        columns: The columns of a table without rows.
        schema: Types of columns, as pyarrow has them, that a Parquet file keeps; None where nobody knows.

    Raises:
        InputError: a value does not fit its column.
    """
    partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")
    try:
        writer = WRITERS[path.suffix.lower()](partial, columns, schema)
        try:
            yield writer
        except BaseException:
            writer.discard()
            raise
        writer.close()
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class CsvWriter:
    """Comma-separated values (RFC 4180), UTF-8; lists and dicts are cells of JSON."""

    def __init__(self, path: Path, columns: Sequence[str], schema: Any) -> None:
        self._file = path.open("w", encoding="utf-8", newline="", errors="backslashreplace")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._columns: Sequence[str] = ()
        self._known = columns

    def write(self, row: Mapping[str, Any]) -> None:
        """See :class:`RowWriter`."""
        if not self._columns:
            self._columns = list(row)
            self._writer.writerow(self._columns)
        self._writer.writerow([_cell(row.get(column)) for column in self._columns])

    def close(self) -> None:
        """See :class:`RowWriter`."""
        if not self._columns:
            self._writer.writerow(self._known)
        self._file.close()

    def discard(self) -> None:
        """See :class:`RowWriter`."""
        self._file.close()


def _cell(value: Any) -> Any:
    return json.dumps(make_finite(value), ensure_ascii=False, default=str) if isinstance(value, (list, dict)) else value


class JsonlWriter:
    """JSON objects, one a line, UTF-8. A number that is not finite is null, which JSON has no other word for."""

    def __init__(self, path: Path, columns: Sequence[str], schema: Any) -> None:
        self._file = path.open("w", encoding="utf-8", errors="backslashreplace")

    def write(self, row: Mapping[str, Any]) -> None:
        """See :class:`RowWriter`."""
        self._file.write(json.dumps(make_finite(row), ensure_ascii=False, default=str) + "\n")

    def close(self) -> None:
        """See :class:`RowWriter`."""
        self._file.close()

    def discard(self) -> None:
        """See :class:`RowWriter`."""
        self._file.close()


class ParquetWriter:
    """Parquet by pyarrow. All rows are held, as Arrow has them, so that each column has a type for all of them."""

    def __init__(self, path: Path, columns: Sequence[str], schema: Any) -> None:
        self._parquet = load_parquet()
        self._path, self._known, self._schema = path, columns, schema
        self._waiting: list[Mapping[str, Any]] = []
        self._batches: list[Any] = []

    def write(self, row: Mapping[str, Any]) -> None:
        """See :class:`RowWriter`."""
        self._waiting.append(row)
        if len(self._waiting) == _ROWS:
            self._convert()

    def close(self) -> None:
        """See :class:`RowWriter`."""
        import pyarrow

        if self._waiting or not self._batches:
            self._convert()
        try:
            table = pyarrow.concat_tables(self._batches, promote_options="permissive")
        except pyarrow.ArrowException as error:
            raise InputError(
                f"a column has values of several types ({error}); write .jsonl, which takes them"
            ) from error
        self._parquet.write_table(table, self._path)

    def discard(self) -> None:
        """See :class:`RowWriter`."""
        self._waiting, self._batches = [], []

    def _convert(self) -> None:
        import pyarrow

        columns = list(dict.fromkeys(name for row in self._waiting for name in row)) or list(self._known)
        arrays = {}
        for column in columns:
            known = self._schema is not None and column in self._schema.names
            values = [row.get(column) for row in self._waiting]
            try:
                arrays[column] = pyarrow.array(values, type=self._schema.field(column).type if known else None)
            except pyarrow.ArrowException as error:
                raise InputError(
                    f"the column {column} has values of several types ({error}); write .jsonl, which takes them"
                ) from error
        self._batches.append(pyarrow.table(arrays))
        self._waiting = []


WRITERS: Mapping[str, Callable[[Path, Sequence[str], Any], RowWriter]] = {
    ".csv": CsvWriter,
    ".jsonl": JsonlWriter,
    ".parquet": ParquetWriter,
}
