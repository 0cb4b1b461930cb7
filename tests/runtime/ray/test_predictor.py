"""The class for ``map_batches``: what the pipeline gives, in each of Ray's formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import edgepipe
from edgepipe.errors import InputError
from edgepipe.ray import Predictor
from tests.runtime.small_bundle import write_bundle

ray = pytest.importorskip("ray")

TEXTS = ["good", "great acting " * 5, None, "a movie that nobody has to see", ""]


@pytest.fixture(scope="module")
def alone(bundle: Path) -> list[Any]:
    """What the pipeline gives for each text."""
    with edgepipe.pipeline(model=str(bundle)) as classify:
        return [classify(text)[0] if text else None for text in TEXTS]


def make_batch(batch_format: str) -> Any:
    if batch_format == "numpy":
        return {"text": np.array(TEXTS, dtype=object), "image": np.zeros((5, 2, 2))}
    if batch_format == "pandas":
        return pd.DataFrame({"text": TEXTS, "image": list(range(5))})
    return pa.table({"text": TEXTS, "image": list(range(5))})


@pytest.mark.parametrize("batch_format", ["numpy", "pandas", "pyarrow"])
def test_results_are_the_pipeline_s(bundle: Path, alone: list[Any], batch_format: str) -> None:
    batch = make_batch(batch_format)
    found = Predictor(bundle)(batch)
    assert type(found) is type(batch)
    cells = {name: pa.array(found[name], from_pandas=True).to_pylist() for name in ("label", "score", "error")}
    assert cells["label"] == [None if each is None else each["label"] for each in alone]
    assert cells["score"] == pytest.approx([None if each is None else each["score"] for each in alone], abs=1e-6)
    assert cells["error"] == [None] * len(TEXTS)


@pytest.mark.parametrize("batch_format", ["numpy", "pandas", "pyarrow"])
def test_actors_on_a_cluster_give_the_same(connected: None, bundle: Path, alone: list[Any], batch_format: str) -> None:
    rows = [{"number": number, "text": TEXTS[number % 5]} for number in range(40)]
    found = (
        ray.data.from_items(rows)
        .map_batches(
            Predictor,
            fn_constructor_kwargs={"bundle": str(bundle)},
            batch_format=batch_format,
            batch_size=8,
            concurrency=2,
            num_cpus=1,
        )
        .take_all()
    )
    assert sorted(row["number"] for row in found) == list(range(40))
    for row in found:
        expected = alone[row["number"] % 5]
        assert row["label"] == (None if expected is None else expected["label"])
        if expected is not None:
            assert row["score"] == pytest.approx(expected["score"], abs=1e-6)


def test_batches_of_other_schemas_follow_each_other(bundle: Path) -> None:
    predict = Predictor(bundle, column="review")
    assert predict(pa.table({"review": ["good"]})).column_names == ["review", "label", "score", "error"]
    found = predict(pa.table({"label": ["mine"], "review": ["good"]}))
    assert found.column_names == ["label", "review", "predicted_label", "score", "error"]
    assert predict(pa.table({"review": pa.array([], pa.string())})).num_rows == 0


def test_options_are_those_of_the_task(bundle: Path) -> None:
    found = Predictor(bundle, top_k=2)(pa.table({"text": ["good"]}))
    assert len(found.column("output")[0].as_py()) == 2


def test_vectors_have_two_axes_in_numpy(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tests.runtime.tiny_bundles import make_encoder

    hidden = make_encoder(tmp_path / "hidden", "feature-extraction")
    found = Predictor(hidden, pooling="mean")({"text": np.array(["good", "bad acting"])})
    assert found["embedding"].dtype == np.float32
    assert found["embedding"].shape == (2, 32)


def test_a_row_that_cannot_be_used_has_an_error(bundle: Path) -> None:
    batch = pa.table({"text": [3, 4]})
    found = Predictor(bundle)(batch)
    assert found.column("error")[0].as_py() == "row 1 of the batch: the column text has 3, expected a text"
    with pytest.raises(InputError, match="row 1 of the batch"):
        Predictor(bundle, fail_fast=True)(batch)


def test_a_column_that_is_not_there_is_an_error(bundle: Path) -> None:
    with pytest.raises(InputError, match="the batch has no column 'review', it has text"):
        Predictor(bundle, column="review")(pa.table({"text": ["good"]}))


def test_another_bundle_gives_other_results(tmp_path: Path, bundle: Path) -> None:
    other = write_bundle(tmp_path / "other", dtypes=("int8",))
    batch = pa.table({"text": ["good"]})
    assert Predictor(bundle)(batch) != Predictor(other)(batch)
