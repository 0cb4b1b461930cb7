"""Whether results depend on the batch is found by trying, whatever the variant is called."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe.pipelines.batch_independence import find_sharing, make_piece, shares_steps
from edgepipe_export import export
from tests.runtime.tiny_bundles import make_variants
from tests.tiny import build
from tests.tiny.generative import build_generative

ENCODERS = {"fp32": True, "w8": True, "int8": False}
WRITERS = {"fp32": True, "int8": False, "w8": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_variants(tmp_path_factory.mktemp("made") / "bundle", tuple(ENCODERS))


@pytest.mark.parametrize("dtype", ENCODERS)
def test_variants(folder: Path, dtype: str) -> None:
    with pipeline(model=folder, dtype=dtype, verify="never") as task:
        assert find_sharing(task) == (ENCODERS[dtype], ENCODERS[dtype])


def test_results_that_show_their_padding_are_never_shared_and_vectors_are(tmp_path: Path) -> None:
    build("bert", directory=tmp_path / "tiny", task="feature-extraction")
    export(tmp_path / "tiny", tmp_path / "bundle", task="feature-extraction", dtypes=("fp32",), verify=False)
    with pipeline("feature-extraction", tmp_path / "bundle", verify="never") as task:
        embedding = task.make_embedding(pooling="mean")
        assert find_sharing(task) == (False, False)
        assert find_sharing(task, partial(_embed, task, embedding)) == (True, True)


def _embed(task: Any, embedding: Any, pieces: Sequence[Any]) -> list[Any]:
    return list(task.embed_batch(pieces, embedding))


def test_a_piece_is_as_long_as_asked_or_as_the_model_takes(folder: Path) -> None:
    with pipeline(model=folder, dtype="fp32", verify="never") as task:
        assert len(make_piece(task, 10, 0)["input_ids"]) == 10
        assert len(make_piece(task, 10_000, 0)["input_ids"]) == task.tokenizer.model_max_length


def test_which_variants_share_steps(tmp_path: Path) -> None:
    model, tokenizer = build_generative("gpt2")
    bundle = export(
        model, tmp_path / "bundle", tokenizer=tokenizer, dtypes=tuple(WRITERS), verify=False, max_drop=100.0
    )
    found = {}
    for dtype in WRITERS:
        with pipeline(model=bundle.path, dtype=dtype, verify="never") as task:
            found[dtype] = shares_steps(task)  # type: ignore[arg-type]
    assert found == WRITERS
