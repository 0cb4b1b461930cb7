"""Rows as tables, by the types that all files have."""

from __future__ import annotations

import pyarrow as pa
import pytest

from edgepipe.errors import InputError
from edgepipe.mapping.sources.source import make_table

SCHEMA = pa.schema([("a", pa.float64()), ("b", pa.string())])


def test_what_a_row_lacks_is_null() -> None:
    assert make_table([{"a": 1}, {"b": "x", "c": 2}], SCHEMA, "f").to_pylist() == [
        {"a": 1.0, "b": None},
        {"a": None, "b": "x"},
    ]
    assert make_table([], SCHEMA, "f").schema == SCHEMA


@pytest.mark.parametrize("row", [{"a": "x"}, {"b": 3}, {"b": "\ud800"}], ids=["text", "number", "surrogate"])
def test_what_does_not_fit_is_told(row: dict[str, object]) -> None:
    with pytest.raises(InputError, match="f has values that do not fit their columns"):
        make_table([row], SCHEMA, "f")
