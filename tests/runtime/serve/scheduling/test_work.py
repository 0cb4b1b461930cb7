"""The steps between tokens and results are those of the pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepipe import pipeline
from edgepipe.serve.scheduling.work import make_embedding_work, make_task_work, make_tensor_work
from edgepipe_export import export
from tests.runtime.small_bundle import expected_logits, write_bundle
from tests.tiny import build


def test_a_task(tmp_path: Path) -> None:
    with pipeline(model=write_bundle(tmp_path / "small", ("fp32",)), verify="never") as task:
        settings = task.settings({"top_k": 2})
        requests = [task.encode_input(text, settings) for text in ("a b", "c")]
        work = make_task_work(task, settings)
        outputs = work.run(task, [request.pieces[0] for request in requests])
        found = [work.decode(request, [output]) for request, output in zip(requests, outputs, strict=True)]
        assert found == task(["a b", "c"], top_k=2)


def test_tensors(tmp_path: Path) -> None:
    with pipeline(model=write_bundle(tmp_path / "small", ("fp32",)), verify="never") as task:
        rows = [{"input_ids": np.array(ids), "attention_mask": np.ones(2, np.int64)} for ids in ([5, 6], [7, 8])]
        work = make_tensor_work(2, ["input_ids", "attention_mask"])
        found = work.run(task, rows)  # type: ignore[arg-type]
        np.testing.assert_allclose([each["logits"] for each in found], expected_logits("fp32", [[5, 6], [7, 8]]), 1e-5)
    assert work.kind == make_tensor_work(2, ["attention_mask", "input_ids"]).kind
    assert work.kind != make_tensor_work(3, ["attention_mask", "input_ids"]).kind


def test_embeddings(tmp_path: Path) -> None:
    build("bert", directory=tmp_path / "tiny", task="feature-extraction")
    export(tmp_path / "tiny", tmp_path / "bundle", dtypes=("fp32",), verify=False)
    with pipeline("feature-extraction", tmp_path / "bundle", verify="never") as task:
        one, other = (task.make_embedding(pooling=mode, normalize_embeddings=True) for mode in ("mean", "cls"))
        work = make_embedding_work(one)
        request = task.encode_texts(["a b c"], "")
        [vector] = work.run(task, request.pieces)
        assert work.decode(request, [vector]) == pytest.approx(
            task.embed("a b c", pooling="mean", normalize_embeddings=True), abs=1e-6
        )
        assert work.kind != make_embedding_work(other).kind
