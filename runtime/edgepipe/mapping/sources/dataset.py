"""All files of a job as one table: the same columns in each of them, and rows in the order of the files.

To add a format: a class in a module of its own, and an entry in :data:`SOURCES`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from edgepipe.errors import InputError
from edgepipe.mapping.sources.csv_source import CsvSource
from edgepipe.mapping.sources.json_lines_source import JsonLinesSource
from edgepipe.mapping.sources.parquet_source import ParquetSource
from edgepipe.mapping.sources.source import Slice, TableSource
from edgepipe.mapping.sources.storage import StoredFile, find_files
from edgepipe.mapping.sources.text_stream import COMPRESSIONS

SOURCES: Mapping[str, Callable[[StoredFile], TableSource]] = {
    ".parquet": ParquetSource,
    ".jsonl": JsonLinesSource,
    ".ndjson": JsonLinesSource,
    ".csv": CsvSource,
    ".tsv": CsvSource,
}
_TEXTS = tuple(end for end in SOURCES if end != ".parquet")
SUFFIXES = (*SOURCES, *(end + compression for end in _TEXTS for compression in COMPRESSIONS))


class Dataset:
    """Files with the same columns.

    Attributes:
        files: The files.
        schema: The columns, as all files have them; those that folders name are the last.
    """

    def __init__(self, files: Sequence[StoredFile], schema: pa.Schema) -> None:
        self.files = tuple(files)
        self.schema = schema
        self._open: tuple[int, TableSource] | None = None

    @property
    def address(self) -> str:
        """What it is called in messages."""
        return self.files[0].path if len(self.files) == 1 else f"{self.files[0].path} and {len(self.files) - 1} more"

    def read(self, file: int, part: Slice) -> pa.Table:
        """The rows of a slice of a file. The file stays open for the next slice.

        Raises:
            InputError: the file cannot be read, or has changed.
        """
        if self._open is None or self._open[0] != file:
            self.close()
            self.files[file].check_size()
            self._open = file, open_source(self.files[file])
        partition = self.files[file].partition
        own = pa.schema([field for field in self.schema if field.name not in partition])
        table = self._open[1].read(part, own)
        for name in self.schema.names:
            if name in partition:
                table = table.append_column(name, pa.array([partition[name]] * table.num_rows, pa.string()))
        return table.replace_schema_metadata(self.schema.metadata)

    def close(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            self._open[1].close()
        self._open = None


def open_source(file: StoredFile) -> TableSource:
    """The source for a file, by how its name ends."""
    name = file.name.lower()
    end = next((each for each in COMPRESSIONS if name.endswith(each)), "")
    return SOURCES[os.path.splitext(name.removesuffix(end))[1]](file)


def find_dataset_files(paths: Sequence[str | os.PathLike[str]]) -> list[StoredFile]:
    """The files that some paths name, of the formats that can be read; see :func:`find_files`."""
    return find_files(paths, SUFFIXES)


def scan_files(
    files: Sequence[StoredFile],
    *,
    most_rows: int,
    most_bytes: int,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Dataset, list[list[Slice]]]:
    """Read through files that are text once: so that what is wrong is said before the long work.

    Args:
        files: One or more.
        most_rows: The most rows of a slice.
        most_bytes: The most bytes of a slice of several rows, not compressed.
        show: Is told how many files are read, and how many there are.

    Returns:
        The dataset, and for each file its slices.

    Raises:
        InputError: a file cannot be read, or files have other columns than the first.
    """
    slices: list[list[Slice]] = []
    schema: pa.Schema | None = None
    for number, file in enumerate(files):
        show(number, len(files))
        source = open_source(file)
        try:
            own, found = source.scan(most_rows, most_bytes)
        finally:
            source.close()
        slices.append(found)
        if not own.names:
            continue
        own = _add_partition(own, file)
        schema = (
            own if schema is None else _unify(schema, own, file, files[0], loose=isinstance(source, JsonLinesSource))
        )
    if schema is None:
        raise InputError(f"{files[0].path} has no columns: it is empty")
    return Dataset(files, schema), slices


def _add_partition(schema: pa.Schema, file: StoredFile) -> pa.Schema:
    for name in file.partition:
        if name in schema.names:
            raise InputError(
                f"{file.path} has a column {name!r}, and so has the name of its folder; rename one of them"
            )
        schema = schema.append(pa.field(name, pa.string()))
    return schema


def _unify(schema: pa.Schema, own: pa.Schema, file: StoredFile, first: StoredFile, *, loose: bool) -> pa.Schema:
    """The types that hold the columns of both; with `loose` either may lack some."""
    missing, more = set(schema.names) - set(own.names), set(own.names) - set(schema.names)
    if (missing or more) and not loose:
        other = f"lacks {_names(missing)}" if missing else f"has {_names(more)} too"
        raise InputError(f"{file.path} {other}, other than {first.path}: map files with the same columns")
    try:
        return pa.unify_schemas([schema, own.remove_metadata()], promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(f"{file.path} has a column of another type than {first.path}: {error}") from error


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names))
