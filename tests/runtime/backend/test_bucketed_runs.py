"""Runs in fixed shapes: results stay what they were, and a bucket that changes them is not used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import Model, pipeline
from edgepipe.backend.bucketed_runs import BucketedRuns
from edgepipe.backend.engines import create_session
from edgepipe.backend.onnxruntime.inference_session import OrtSession
from edgepipe.backend.session import SessionConfig
from edgepipe.backend.shape_buckets import check_buckets
from tests.runtime.small_bundle import VOCABULARY, expected_logits, write_bundle, write_graph

BUCKETS = [(4, 16), (1, 8), (2, 8), (1, 4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("buckets"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model.from_pretrained(folder, buckets=BUCKETS)


@pytest.mark.parametrize(("rows", "tokens"), [(1, 1), (1, 4), (1, 5), (2, 8), (2, 3), (3, 16), (4, 9), (5, 4), (3, 2)])
def test_results_are_what_they_were(model: Model, rows: int, tokens: int) -> None:
    generator = np.random.default_rng([rows, tokens])
    for _ in range(3):  # the first of a bucket is computed twice, those after it are not
        ids = generator.integers(VOCABULARY, size=(rows, tokens))
        mask = generator.integers(2, size=ids.shape)
        found = model(input_ids=ids, attention_mask=mask)["logits"]
        np.testing.assert_allclose(found, expected_logits("fp32", ids, mask), rtol=1e-5, atol=1e-5)


def test_what_is_larger_than_every_bucket_runs_as_it_comes(folder: Path) -> None:
    model = Model.from_pretrained(folder, buckets=[(2, 4)])
    ids = [[2, 30, 31, 32, 3]]
    np.testing.assert_allclose(model(input_ids=ids)["logits"], expected_logits("fp32", ids), rtol=1e-5, atol=1e-5)
    assert model._bucketed is not None
    assert not model._bucketed.is_used(1, 5)


def test_warming_up_leaves_nothing_to_be_made(model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = Model.from_pretrained(folder, buckets=BUCKETS)
    fresh.warm_up()
    runs = []
    monkeypatch.setattr(fresh.session, "run", lambda feeds: runs.append(feeds))
    for rows, tokens in [(1, 1), (1, 4), (1, 7), (2, 8), (2, 5), (3, 16), (4, 16), (4, 11), (3, 12)]:
        ids = np.full((rows, tokens), 30)
        found = fresh(input_ids=ids)["logits"]
        np.testing.assert_allclose(found, expected_logits("fp32", ids), rtol=1e-5, atol=1e-5)
    assert runs == []


def test_a_graph_without_mask_is_not_padded_in_length(tmp_path: Path) -> None:
    model = Model.from_pretrained(write_bundle(tmp_path, inputs=("input_ids",)), buckets=[(2, 4)])
    model.warm_up()
    assert model._bucketed is not None
    for rows, tokens, used in [(1, 4, True), (2, 4, True), (1, 3, False), (2, 2, False)]:
        ids = np.full((rows, tokens), 30)
        np.testing.assert_allclose(model(input_ids=ids)["logits"], expected_logits("fp32", ids), rtol=1e-5, atol=1e-5)
        assert model._bucketed.is_used(rows, tokens) is used


def test_many_callers_of_one_pipeline(folder: Path) -> None:
    classify = pipeline("text-classification", folder, buckets=BUCKETS, top_k=None)
    alone = pipeline("text-classification", folder, top_k=None)
    texts = [" ".join(["good"] * (1 + count % 7) + ["bad"] * (count % 3)) for count in range(60)]
    expected = [alone([text])[0] for text in texts]
    with ThreadPoolExecutor(8) as pool:
        found = [each[0] for each in pool.map(lambda text: classify([text]), texts)]
    for ours, theirs in zip(found, expected, strict=True):
        assert [each["label"] for each in ours] == [each["label"] for each in theirs]
        scores = [[each["score"] for each in one] for one in (ours, theirs)]
        np.testing.assert_allclose(*scores, atol=1e-6)


def test_values_are_bound_once_and_take_no_more_than_is_allowed(tmp_path: Path, monkeypatch: Any) -> None:
    write_graph(tmp_path / "model.onnx")
    session = create_session(tmp_path / "model.onnx")
    row = 3 * np.dtype(np.float32).itemsize
    monkeypatch.setattr("edgepipe.backend.bucketed_runs._MOST_BYTES", 3 * row)
    bound = 0
    bind = session.bind

    def counted(graph_id: int) -> Any:
        nonlocal bound
        bound += 1
        return bind(graph_id)

    monkeypatch.setattr(session, "bind", counted)
    runs = BucketedRuns(session, check_buckets([(1, 4), (2, 8), (4, 8)]), fill={}, tolerance=1e-5)
    for rows, tokens in [(1 + count % 4, 1 + count % 8) for count in range(16)]:
        ids = np.full((rows, tokens), 30)
        found = runs({"input_ids": ids, "attention_mask": np.ones_like(ids)})["logits"]
        np.testing.assert_allclose(found, expected_logits("fp32", ids), rtol=1e-5, atol=1e-5)
    assert bound == 2  # the third, of four rows, has no room
    assert runs.is_used(2, 6)
    assert not runs.is_used(4, 8)


class Disturbed(OrtSession):
    """A session whose bound runs are wrong: what a recording gives that another run has written over."""

    def bind(self, graph_id: int | None = None) -> Any:
        binding = super().bind(graph_id)
        binding_run = binding.run

        def run() -> Any:
            outputs = binding_run()
            binding._bound["logits"].update_inplace(np.full(binding._bound["logits"].shape(), 7, np.float32))
            return outputs

        binding.run = run  # type: ignore[method-assign]
        return binding


def test_a_bucket_that_gives_something_else_is_not_used(tmp_path: Path) -> None:
    write_graph(tmp_path / "model.onnx")
    runs = BucketedRuns(Disturbed(tmp_path / "model.onnx", SessionConfig()), [(2, 8)], fill={}, tolerance=1e-4)
    ids = np.full((1, 5), 30)
    for _ in range(2):
        found = runs({"input_ids": ids, "attention_mask": np.ones_like(ids)})["logits"]
        np.testing.assert_allclose(found, expected_logits("fp32", ids), rtol=1e-5, atol=1e-5)
    assert not runs.is_used(1, 5)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("edgepipe.backend.onnxruntime.inference_session.threads_of_worker", lambda workers: 1)
    return
