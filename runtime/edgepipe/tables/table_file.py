"""Tables in files, read row by row: CSV, TSV, JSONL and Parquet, told by how the file's name ends.

To add a format: a function that reads its rows, and an entry in :data:`READERS`.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepipe.errors import DependencyError, InputError
from edgepipe.tables.json_lines import read_json_lines
from edgepipe.tables.text_lines import read_raw_lines

# A row's number in its file, for messages, and its cells by column.
Row = tuple[int, dict[str, Any]]

# Rows of a Parquet file that are in memory at once.
_ROWS = 1024


class TableFile:
    """A table with named columns.

    It is read through once when it is opened, so that a damaged row is told before the long work starts.

    Attributes:
        path: The file.
        columns: The names of its columns, in their order.
        schema: The types of the columns, as pyarrow has them; None for other formats than Parquet.
    """

    def __init__(self, path: Path) -> None:
        """Open a table; `path` ends in one of :data:`READERS`.

        Raises:
            DependencyError: it is Parquet, and pyarrow is missing.
            InputError: the file cannot be read, or is not what its name says.
        """
        self.path = path
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no regular file; a table is read twice, so write it to a file first")
        self._read = READERS[path.suffix.lower()]
        self.schema = open_parquet(path).schema_arrow if self._read is _read_parquet else None
        columns: dict[str, None] = dict.fromkeys(() if self.schema is None else self.schema.names)
        self._rows = 0
        for number, cells in self._read(path):
            columns |= dict.fromkeys(cells)
            self._rows += number > 0
        self.columns = tuple(columns)

    def __len__(self) -> int:
        """How many rows there are."""
        return self._rows

    def rows(self) -> Iterator[Row]:
        """The rows, each with its number: the line it begins on; in Parquet the row, counted from 1."""
        return (row for row in self._read(self.path) if row[0])

    def place(self, number: int) -> str:
        """A row's place in words."""
        return f"{self.path}, {'line' if self.schema is None else 'row'} {number}"


def is_table(path: Path) -> bool:
    """Whether a file's name says that it is a table."""
    return path.suffix.lower() in READERS


def _read_csv(path: Path, delimiter: str = ",") -> Iterator[Row]:
    """Rows of comma-separated values; before them a row 0 that has the columns alone."""
    columns: list[str] = []
    for begin, cells in read_csv_records(read_raw_lines(path), str(path), delimiter):
        if not columns:
            columns = cells
            yield 0, dict.fromkeys(columns)
        else:
            yield begin, dict(zip(columns, cells, strict=True))


def read_csv_records(
    lines: Iterable[str], origin: str, delimiter: str = ",", columns: Sequence[str] = ()
) -> Iterator[tuple[int, list[str]]]:
    """Records of comma-separated values (RFC 4180), each with the line it begins on.

    Args:
        lines: The lines, with their ends.
        origin: What the file is called in messages.
        delimiter: What is between the cells.
        columns: The names of the columns, where the lines do not begin with them; else they are the first record.

    Raises:
        InputError: a name is there twice, or a record has more or fewer cells than there are columns.
    """
    csv.field_size_limit(sys.maxsize)  # a cell may hold a document
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    begin = 1
    try:
        for cells in reader:
            if cells and not columns:
                columns = cells
                _check_columns(cells, origin, delimiter)
                yield begin, cells
            elif cells and len(cells) != len(columns):
                raise InputError(f"{origin}, line {begin}, has {len(cells)} cells, and the first line {len(columns)}")
            elif cells:
                yield begin, cells
            begin = reader.line_num + 1  # a quoted cell may have several lines
    except csv.Error as error:
        raise InputError(f"{origin}, line {begin}, cannot be read as a table: {error}") from error


def _check_columns(columns: list[str], path: str, delimiter: str) -> None:
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise InputError(f"{path} has two columns {twice!r}; give each a name of its own in the first line")
    other = next((mark for mark in ",;\t" if mark != delimiter and mark in columns[0]), None)
    if len(columns) == 1 and other is not None:
        raise InputError(
            f"the first line of {path} has {other!r} between the names; write the table with {delimiter!r}"
        )


def _read_tsv(path: Path) -> Iterator[Row]:
    return _read_csv(path, "\t")


def _read_jsonl(path: Path) -> Iterator[Row]:
    for number, line, record in read_json_lines(read_raw_lines(path), str(path)):
        if not isinstance(record, dict):
            raise InputError(f"{path}, line {number}, must be a JSON object with named columns, got {line.strip():.60}")
        yield number, record


def _read_parquet(path: Path) -> Iterator[Row]:
    number = 0
    try:
        for batch in open_parquet(path).iter_batches(batch_size=_ROWS):
            for cells in batch.to_pylist():
                number += 1
                yield number, cells
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error


def open_parquet(path: Path) -> Any:
    """A Parquet file by pyarrow.

    Raises:
        DependencyError: pyarrow is missing.
        InputError: it cannot be read, or is not Parquet.
    """
    parquet = load_parquet()
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error


def load_parquet() -> Any:
    """The module of pyarrow that reads and writes Parquet.

    Raises:
        DependencyError: pyarrow is missing.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DependencyError(f"Parquet needs pyarrow ({error}); pip install 'edgepipe[tables]'") from error
    return parquet


READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
