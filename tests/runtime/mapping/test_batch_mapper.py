"""Tables keep their columns, and get those of the results."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from edgepipe import pipeline
from edgepipe.mapping.batch_mapper import BatchMapper, split_options
from edgepipe.mapping.row_runner import RunOptions
from tests.runtime.small_bundle import LABELS

TABLE = pa.table(
    {
        "id": pa.array([1, 2, 3, 4, 5], pa.int16()),
        "text": pa.array(["good", None, " ", "bad", "fair"], pa.large_string()),
        "when": pa.array([0, 1, 2, 3, 4], pa.timestamp("ms")),
    }
)


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        *([pa.string_view()] if hasattr(pa, "string_view") else []),  # from pyarrow 16 on
        pa.dictionary(pa.int8(), pa.string()),
    ],
)
def test_columns_stay_as_they_are(small: Path, kind: pa.DataType) -> None:
    table = TABLE.set_column(1, "text", TABLE["text"].cast(pa.string()).cast(kind))
    with pipeline(model=small) as task:
        mapper = BatchMapper(task, table.schema, {"text": "text"}, RunOptions(4))
        [mapped] = mapper.run([("a", table)])
        expected = [None if not text.strip() else task(text)[0] for text in ("good", "", " ", "bad", "fair")]
    assert mapped.table.schema == mapper.schema
    assert mapped.table.select(table.schema.names).equals(table)
    assert mapped.table["label"].to_pylist() == [each and each["label"] for each in expected]
    assert mapped.table["score"].to_pylist() == pytest.approx([each and each["score"] for each in expected])
    assert mapped.inputs == 3
    assert set(mapped.table["label"].to_pylist()) <= {*LABELS, None}


def test_cells_that_are_no_texts_are_errors_of_their_rows(small: Path) -> None:
    table = pa.table({"text": pa.array([3, None])})
    with pipeline(model=small) as task:
        mapper = BatchMapper(task, table.schema, {"text": "text"}, RunOptions(locate=lambda key, row: f"{key} {row}"))
        [mapped] = mapper.run([("part", table)])
    assert mapped.table["error"].to_pylist() == ["part 0: the column text has 3, expected a text", None]


def test_pairs_are_read_from_two_columns(small: Path) -> None:
    table = pa.table({"one": ["good", "bad"], "two": ["fair", None]})
    with pipeline(model=small) as task:
        mapper = BatchMapper(task, table.schema, {"text": "one", "text_pair": "two"}, RunOptions())
        [mapped] = mapper.run([(0, table)])
        assert mapped.table["label"].to_pylist() == [task({"text": "good", "text_pair": "fair"})["label"], None]


def test_options_of_vectors_are_told_from_the_pipelines() -> None:
    assert split_options({"top_k": 2, "pooling": "cls"}) == ({"top_k": 2}, {"pooling": "cls"})
