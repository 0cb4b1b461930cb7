"""Tables of other libraries as batches of Arrow: pyarrow, pandas, polars, datasets; and files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import pyarrow as pa

from edgepipe.errors import InputError
from edgepipe.mapping.sources.dataset import find_dataset_files, scan_files

# Rows that are in memory at once.
_ROWS = 1024
_BYTES = 1 << 24


def open_tables(data: Any) -> tuple[pa.Schema, Iterator[pa.Table], str]:
    """The columns of some data, its rows as small tables, and what it is called.

    Args:
        data: What :func:`edgepipe.map_dataset` takes.

    Raises:
        InputError: it is no table, or a file cannot be read.
    """
    if isinstance(data, (str, os.PathLike)) or _are_paths(data):
        paths = [data] if isinstance(data, (str, os.PathLike)) else list(data)
        dataset, slices = scan_files(find_dataset_files(paths), most_rows=_ROWS, most_bytes=_BYTES)
        tables = (dataset.read(file, part) for file, own in enumerate(slices) for part in own)
        return dataset.schema, tables, dataset.address
    name = f"the {type(data).__name__}"
    for opens in (_open_arrow, _open_datasets, _open_stream, _open_batches):
        if (found := opens(data)) is not None:
            schema, batches = found
            return schema, _cut(batches), name
    raise InputError(
        f"expected files, or a table of pyarrow, pandas, polars or datasets, got {type(data).__name__} {data!r:.60}; a "
        "list of texts goes to the pipeline itself"
    )


Found = tuple[pa.Schema, Iterable[Any]] | None


def _are_paths(data: Any) -> bool:
    return isinstance(data, (list, tuple)) and bool(data) and all(isinstance(each, (str, os.PathLike)) for each in data)


def _open_arrow(data: Any) -> Found:
    if isinstance(data, pa.Table):
        return data.schema, data.to_batches(max_chunksize=_ROWS)
    if isinstance(data, pa.RecordBatch):
        return data.schema, [data]
    if isinstance(data, pa.RecordBatchReader):
        return data.schema, data
    if callable(getattr(data, "to_batches", None)) and isinstance(getattr(data, "schema", None), pa.Schema):
        return data.schema, data.to_batches(batch_size=_ROWS)  # of pyarrow.dataset
    return None


def _open_datasets(data: Any) -> Found:
    """A ``Dataset`` of datasets; it reads its rows from its own files."""
    features = getattr(data, "features", None)
    if features is None or not hasattr(features, "arrow_schema"):
        return None
    return features.arrow_schema, data.with_format("arrow").iter(batch_size=_ROWS)


def _open_stream(data: Any) -> Found:
    """Anything with Arrow's own interface, which polars and pandas have."""
    if not hasattr(data, "__arrow_c_stream__"):
        return None
    reader = pa.RecordBatchReader.from_stream(data)
    return reader.schema, reader


def _open_batches(data: Any) -> Found:
    """An iterable of tables or batches."""
    if isinstance(data, (bytes, dict)) or not isinstance(data, Iterable):
        return None
    iterator = iter(data)
    first = next(iterator, None)
    if not isinstance(first, (pa.Table, pa.RecordBatch)):
        return None
    return first.schema, chain([first], iterator)


def _cut(batches: Iterable[Any]) -> Iterator[pa.Table]:
    """Tables of a bounded number of rows."""
    for batch in batches:
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        for begin in range(0, table.num_rows, _ROWS):
            yield table.slice(begin, _ROWS)
