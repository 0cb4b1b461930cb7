"""Batches as Ray Data gives them: a dict of numpy arrays, a pandas frame, an Arrow table. And columns beside theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from edgepipe.errors import InputError


def read_columns(batch: Any, names: Iterable[str]) -> pa.Table:
    """Some columns of a batch as a table; the others are there by their names alone.

    Args:
        batch: In one of Ray's formats.
        names: The columns that are read.

    Raises:
        InputError: a column has no form that Arrow knows.
    """
    wanted = set(names)
    rows = count_rows(batch)
    columns: dict[str, Any] = {}
    for name in column_names(batch):
        columns[name] = _to_arrow(batch, name) if name in wanted else pa.nulls(rows)
    return pa.table(columns)


def column_names(batch: Any) -> list[str]:
    """The names of a batch's columns.

    Raises:
        InputError: it is no batch of Ray's.
    """
    if isinstance(batch, pa.Table):
        return list(batch.schema.names)
    if isinstance(batch, Mapping):
        return [str(name) for name in batch]
    if hasattr(batch, "columns"):
        return [str(name) for name in batch.columns]
    raise InputError(
        f"expected a batch of Ray Data (numpy, pandas or pyarrow), got {type(batch).__name__}; call map_batches() "
        "with batch_format='numpy', 'pandas' or 'pyarrow'"
    )


def count_rows(batch: Any) -> int:
    """How many rows a batch has."""
    if isinstance(batch, pa.Table):
        return int(batch.num_rows)
    if isinstance(batch, Mapping):
        return len(next(iter(batch.values()), ()))
    return len(batch)


def add_columns(batch: Any, table: pa.Table, names: Sequence[str]) -> Any:
    """A batch with more columns, in the format that it has.

    Args:
        batch: The batch.
        table: Has the columns, for the same rows.
        names: Which.
    """
    if isinstance(batch, pa.Table):
        for name in names:
            batch = batch.append_column(table.schema.field(name), table.column(name))
        return batch
    if isinstance(batch, Mapping):
        return {**batch, **{name: _to_numpy(table.column(name)) for name in names}}
    return batch.assign(**{name: table.column(name).to_pandas().set_axis(batch.index) for name in names})


def _to_arrow(batch: Any, name: str) -> Any:
    if isinstance(batch, pa.Table):
        return batch.column(name)
    try:
        return pa.array(batch[name], from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"the column {name} of the batch cannot be read: {error}; give it texts") from error


def _to_numpy(column: pa.ChunkedArray) -> Any:
    """An array: of vectors with two axes, of lists and texts with objects."""
    if pa.types.is_fixed_size_list(column.type):
        size = column.type.list_size
        empty = np.full(size, np.nan, dtype=np.float32)  # a row that failed
        rows = [empty if row is None else row for row in column.to_pylist()]
        return np.array(rows, dtype=np.float32).reshape(len(rows), size)
    if pa.types.is_nested(column.type):
        found = np.empty(len(column), dtype=object)
        found[:] = column.to_pylist()
        return found
    return column.to_numpy()
