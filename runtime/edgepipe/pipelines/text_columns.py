"""Columns of other libraries as lists: numpy, pandas, polars, pyarrow, datasets, none of which is imported.

They are told by what they can do. A column has a length, items by position, and mostly a method that gives a list of
Python's own values. A whole table has names of columns; whoever iterates over it gets names or rows, never texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepipe.errors import InputError

_TO_LIST = ("to_pylist", "to_list", "tolist")  # pyarrow; polars and pandas; numpy


def as_list(inputs: Any) -> Any:
    """The inputs of a call: a column as a list, anything else as it is.

    Raises:
        InputError: it is a whole table, or an array of several dimensions.
    """
    kind = type(inputs)
    if kind is str or kind is list or kind is dict or kind is tuple:  # asked at every call, so the usual ones first
        return inputs
    check_is_no_table(inputs)
    if isinstance(inputs, (str, bytes, bytearray, list, tuple, Mapping)):
        return inputs
    if not (hasattr(inputs, "__len__") and hasattr(inputs, "__getitem__")):
        return inputs  # an iterator, or what the task refuses
    dimensions = getattr(inputs, "ndim", 1)
    if dimensions != 1:
        raise InputError(f"expected a list of texts, got an array of {dimensions} dimensions; pass one of its columns")
    for name in _TO_LIST:
        if callable(convert := getattr(inputs, name, None)):
            return convert()
    return list(inputs)


def check_is_no_table(inputs: Any) -> None:
    """Refuse a whole table: a DataFrame, a Table, a Dataset.

    Raises:
        InputError: it is one; the message has its columns.
    """
    names = _column_names(inputs)
    if names is None:
        return
    kind = type(inputs).__name__
    if isinstance(names, Mapping):
        split = next(iter(names), "train")
        raise InputError(
            f"expected a list of texts, got a {kind} with the splits {', '.join(map(str, names))}; pass a column of "
            f'one, e.g. dataset["{split}"]["text"]'
        )
    columns = [str(name) for name in names]
    example = "text" if "text" in columns or not columns else columns[0]
    raise InputError(
        f"expected a list of texts, got a {kind} with the columns {', '.join(columns) or 'none'}; pass one of them, "
        f'e.g. df["{example}"]'
    )


def _column_names(inputs: Any) -> Any:
    """The names of a table's columns, or of the splits of several tables as a dict; None for what is no table."""
    if callable(schema := getattr(inputs, "collect_schema", None)):  # polars, whose lazy frames warn of `columns`
        return schema().names()
    for attribute in ("column_names", "columns"):  # pyarrow and datasets; pandas
        names = getattr(inputs, attribute, None)
        if names is not None and not callable(names):
            return names
    return getattr(getattr(inputs, "dtype", None), "names", None)  # numpy's arrays of records
