"""Tables of every library as a stream of batches: the same results for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import polars
import pyarrow as pa
import pyarrow.dataset
import pytest

import edgepipe
from edgepipe import map_dataset, pipeline
from edgepipe.errors import ClosedError, InputError

TABLE = pa.table({"id": list(range(3000)), "review": [f"text {number}" for number in range(3000)]})

DATA: Mapping[str, Callable[[Path], Any]] = {
    "table": lambda folder: TABLE,
    "batch": lambda folder: TABLE.combine_chunks().to_batches()[0],
    "reader": lambda folder: TABLE.to_reader(500),
    "arrow-dataset": lambda folder: pa.dataset.dataset(TABLE),
    "batches": lambda folder: iter(TABLE.to_batches(500)),
    "pandas": lambda folder: TABLE.to_pandas(),
    "polars": lambda folder: polars.from_arrow(TABLE),
    "datasets": lambda folder: datasets.Dataset(TABLE),
    "files": lambda folder: write(folder / "a.parquet"),
}


def write(path: Path) -> Path:
    pa.parquet.write_table(TABLE, path)
    return path


@pytest.fixture(scope="module")
def labels(small: Path) -> list[str]:
    with pipeline(model=small) as task:
        return [result["label"] for result in task(TABLE["review"].to_pylist())]


@pytest.mark.parametrize("kind", DATA)
def test_every_kind_of_table(small: Path, tmp_path: Path, labels: list[str], kind: str) -> None:
    reader = map_dataset(small, DATA[kind](tmp_path), column="review")
    assert isinstance(reader, pa.RecordBatchReader)
    found = reader.read_all()
    assert found.schema.names == ["id", "review", "label", "score", "error"]
    assert found["id"].to_pylist() == TABLE["id"].to_pylist()
    assert found["label"].to_pylist() == labels


def test_it_computes_as_it_is_read(small: Path) -> None:
    read: list[int] = []

    def batches() -> Any:
        for number, batch in enumerate(TABLE.to_batches(500)):
            read.append(number)
            yield batch

    reader = map_dataset(small, batches(), column="review")
    assert read == [0]
    assert reader.read_next_batch().num_rows == 500
    assert len(read) < 4


def test_other_libraries_take_what_comes(small: Path, labels: list[str]) -> None:
    assert polars.from_arrow(map_dataset(small, TABLE, column="review"))["label"].to_list() == labels
    assert map_dataset(small, TABLE, column="review").read_pandas()["label"].tolist() == labels


def test_a_pipeline_that_is_loaded_stays_open_and_one_by_its_path_is_closed(small: Path) -> None:
    with pipeline(model=small, top_k=2) as task:
        found = map_dataset(task, TABLE.slice(0, 2), column="review").read_all()
        assert found["output"].to_pylist() == task(TABLE["review"].to_pylist()[:2])
        assert task("again")
        with pytest.raises(InputError, match="the pipeline is loaded already: give it dtype, top_k when you load it"):
            map_dataset(task, TABLE, column="review", dtype="fp32", top_k=1)
        with pytest.raises(InputError, match="with an output name the bundle by its path"):
            map_dataset(task, "a.csv", "out", column="review")
    with pytest.raises(ClosedError):
        map_dataset(task, TABLE, column="review").read_all()


def test_vectors(tiny_bundles: Mapping[str, Path]) -> None:
    with pipeline("feature-extraction", tiny_bundles["sentences"]) as task:
        vectors = task.embed(TABLE["review"].to_pylist()[:3], prompt_name="query")
        reader = map_dataset(task, TABLE.slice(0, 3), column="review", prompt_name="query")
        found = reader.read_all()
    assert found.schema.field("embedding").type == pa.list_(pa.float32(), 32)
    np.testing.assert_allclose(found["embedding"].to_pylist(), vectors, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "expected files, or a table of pyarrow"),
        (["a", "b"], "is not there"),
        ({"text": ["a"]}, "expected files, or a table"),
        (3, "expected files, or a table"),
        (TABLE, "say which holds the text: --column text=NAME"),
    ],
    ids=["numbers", "paths", "dict", "number", "column"],
)
def test_what_is_refused(small: Path, data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        map_dataset(small, data)


def test_datasets_map_with_processes(small: Path, labels: list[str]) -> None:
    """A pipeline pickles, so each process of ``datasets.map`` has its own."""
    task = pipeline(model=small)
    data = datasets.Dataset(TABLE.slice(0, 40))
    found = data.map(lambda row: {"label": task(row["review"])[0]["label"]}, num_proc=2)
    assert found["label"][:] == labels[:40]


def test_a_file_is_written_where_one_is_wanted(small: Path, tmp_path: Path, labels: list[str]) -> None:
    report = map_dataset(small, write(tmp_path / "a.parquet"), tmp_path / "out.parquet", column="review")
    assert report.rows == 3000
    assert pa.parquet.read_table(tmp_path / "out.parquet")["label"].to_pylist() == labels
    assert edgepipe.map_dataset is map_dataset
