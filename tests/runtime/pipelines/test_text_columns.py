"""Columns of numpy, pandas, polars, pyarrow and datasets are lists of texts; a whole table is an error."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import polars
import pyarrow
import pytest

from edgepipe import pipeline
from edgepipe.errors import InputError
from edgepipe.pipelines.text_columns import as_list
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import write_bundle

TEXTS = ["a quiet triumph", "dull", "I loved it, all of it"]
ROWS = {"id": [1, 2, 3], "text": TEXTS}

COLUMNS: dict[str, Any] = {
    "numpy of texts": np.array(TEXTS),
    "numpy of objects": np.array(TEXTS, object),
    "pandas Series": pandas.DataFrame(ROWS)["text"],
    "pandas Series with an index": pandas.DataFrame(ROWS).set_index("id")["text"],
    "pandas category": pandas.Series(TEXTS, dtype="category"),
    "pandas Index": pandas.Index(TEXTS),
    "pandas array": pandas.Series(TEXTS).array,
    "polars Series": polars.DataFrame(ROWS)["text"],
    "pyarrow column": pyarrow.table(ROWS)["text"],
    "pyarrow Array": pyarrow.array(TEXTS),
    "datasets column": datasets.Dataset.from_dict(ROWS)["text"],
    "deque": deque(TEXTS),
}

TABLES: dict[str, Any] = {
    "pandas DataFrame": pandas.DataFrame(ROWS),
    "polars DataFrame": polars.DataFrame(ROWS),
    "polars LazyFrame": polars.LazyFrame(ROWS),
    "pyarrow Table": pyarrow.table(ROWS),
    "pyarrow RecordBatch": pyarrow.record_batch(ROWS),
    "datasets Dataset": datasets.Dataset.from_dict(ROWS),
    "numpy records": pandas.DataFrame(ROWS).to_records(index=False),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("columns") / "bundle")


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_column_is_a_list(column: Any, batch_size: int, bundle: Path) -> None:
    classify: Any = pipeline(model=bundle, batch_size=batch_size)
    assert as_list(column) == TEXTS
    assert classify(column) == classify(TEXTS)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@pytest.mark.filterwarnings("error")
def test_a_table_is_an_error_with_its_columns(table: Any, bundle: Path) -> None:
    classify: Any = pipeline(model=bundle)
    kind = type(table).__name__
    with pytest.raises(
        InputError, match=rf'got a {kind} with the columns id, text; pass one of them, e.g. df\["text"\]'
    ):
        classify(table)


def test_several_tables_are_an_error_with_their_splits(bundle: Path) -> None:
    table: Any = datasets.DatasetDict({"test": datasets.Dataset.from_dict(ROWS)})
    classify: Any = pipeline(model=bundle)
    with pytest.raises(InputError, match=r'a DatasetDict with the splits test; .*dataset\["test"\]\["text"\]'):
        classify(table)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pandas.Series(["a", None]), r"input 1: expected a text, .*got (NoneType None|float nan)"),
        (pandas.Series(["a", "b", np.nan]), r"input 2: expected a text, .*got float nan"),
        (pandas.Series([1, 2]), r"input 0: expected a text, .*got int 1"),
        (polars.Series(["a", None]), r"input 1: expected a text, .*got NoneType None"),
        (pyarrow.array(["a", None]), r"input 1: expected a text, .*got NoneType None"),
        (np.array([0.5]), r"input 0: expected a text, .*got float 0.5"),
        (np.array([["a", "b"]]), r"an array of 2 dimensions; pass one of its columns"),
        (np.array("a"), r"an array of 0 dimensions"),
        (["a", 3], r"input 1: expected a text, .*got int 3"),
        (None, r"expected a text, .*got NoneType None"),
        (3, r"expected a text, .*got int 3"),
    ],
)
def test_what_is_no_text_is_an_error_with_its_place(column: Any, message: str, bundle: Path) -> None:
    classify: Any = pipeline(model=bundle)
    with pytest.raises(InputError, match=message):
        classify(column)


def test_iterators_stay_iterators(bundle: Path) -> None:
    classify: Any = pipeline(model=bundle)
    results = classify(iter(TEXTS))
    assert next(results) == classify(TEXTS)[0]
    texts = (text for text in TEXTS)
    assert as_list(texts) is texts
    assert as_list("a text") == "a text"
    assert type(as_list(np.array(TEXTS)[0])) is np.str_


def test_none_of_the_libraries_is_imported(bundle: Path) -> None:
    program = """
        import sys
        from edgepipe import pipeline
        import numpy
        print(len(pipeline(model=sys.argv[1])(numpy.array(["a", "b"]))))
        print({"pandas", "polars", "pyarrow", "datasets"} & sys.modules.keys())
    """
    assert run_python(program, str(bundle)).split() == ["2", "set()"]
