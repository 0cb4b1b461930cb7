"""Batches of each format: what is read of them, and what stands beside their columns afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from edgepipe.errors import InputError
from edgepipe.ray.batch_formats import add_columns, column_names, count_rows, read_columns

COLUMNS = {"id": [1, 2], "text": ["good", None]}
BATCHES = {
    "numpy": {"id": np.array([1, 2]), "text": np.array(["good", None], dtype=object)},
    "pandas": pd.DataFrame(COLUMNS, index=[7, 9]),
    "pyarrow": pa.table(COLUMNS),
}
each_format = pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)


@each_format
def test_columns_are_read_by_name(batch: Any) -> None:
    assert column_names(batch) == ["id", "text"]
    assert count_rows(batch) == 2
    table = read_columns(batch, ["text"])
    assert table.column("text").to_pylist() == ["good", None]
    assert table.schema.field("id").type == pa.null()


@each_format
def test_columns_are_added_in_the_same_format(batch: Any) -> None:
    vectors = pa.array([[0.5, 1.0], None], pa.list_(pa.float32(), 2))
    more = pa.table({"label": ["a", None], "score": [0.25, None], "vector": vectors, "spans": [[{"end": 3}], []]})
    found = add_columns(batch, more, ["label", "score", "vector", "spans"])
    assert type(found) is type(batch)
    assert column_names(found) == ["id", "text", "label", "score", "vector", "spans"]
    scores = pa.array(found["score"], from_pandas=True)
    assert scores.to_pylist() == [0.25, None]
    assert column_names(batch) == ["id", "text"]


def test_numpy_gets_arrays_that_ray_can_take() -> None:
    vectors = pa.array([[0.5, 1.0], None], pa.list_(pa.float32(), 2))
    more = pa.table({"vector": vectors, "spans": [[{"end": 3}], []], "label": ["a", None]})
    found = add_columns(BATCHES["numpy"], more, ["vector", "spans", "label"])
    assert found["vector"].dtype == np.float32
    assert found["vector"].shape == (2, 2)
    assert np.isnan(found["vector"][1]).all()
    assert found["spans"].tolist() == [[{"end": 3}], []]
    assert found["label"].tolist() == ["a", None]


def test_a_frame_keeps_its_index() -> None:
    found = add_columns(BATCHES["pandas"], pa.table({"label": ["a", "b"]}), ["label"])
    assert found.index.tolist() == [7, 9]
    assert found["label"].tolist() == ["a", "b"]


def test_columns_that_nobody_reads_may_be_anything() -> None:
    batch = {"image": np.zeros((2, 4, 4)), "text": np.array(["a", "b"])}
    assert read_columns(batch, ["text"]).column("text").to_pylist() == ["a", "b"]


def test_an_empty_batch_has_no_rows() -> None:
    assert count_rows({}) == 0
    assert read_columns({"text": np.array([], dtype=object)}, ["text"]).num_rows == 0


def test_a_column_that_arrow_does_not_know_is_an_error() -> None:
    batch = {"text": np.array(["a", 3, object()], dtype=object)}
    with pytest.raises(InputError, match="the column text of the batch cannot be read"):
        read_columns(batch, ["text"])


def test_what_is_no_batch_is_an_error() -> None:
    with pytest.raises(InputError, match="expected a batch of Ray Data"):
        column_names(["a text"])
