"""``examples/dask``: a DataFrame gets what the pipeline gives, in threads and in processes, where Dask is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import edgepipe
from tests.conftest import REPOSITORY
from tests.runtime.small_bundle import write_bundle

PROGRAM = REPOSITORY / "examples" / "dask" / "classify.py"
TEXTS = ["good", None, "a movie that nobody has to see", "great acting " * 9, ""] * 4


def test_it_compiles() -> None:
    compile(PROGRAM.read_text(encoding="utf-8"), str(PROGRAM), "exec")


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_rows_get_what_the_pipeline_gives(tmp_path: Path, scheduler: str) -> None:
    pytest.importorskip("dask.dataframe")
    import dask.dataframe as dd

    bundle = write_bundle(tmp_path / "bundle")
    frame = pd.DataFrame({"number": range(len(TEXTS)), "review": TEXTS})
    dd.from_pandas(frame, npartitions=3).to_parquet(tmp_path / "in")
    command = [sys.executable, PROGRAM, bundle, tmp_path / "in", tmp_path / "out", "review"]
    done = subprocess.run(
        command, env={**os.environ, "DASK_SCHEDULER": scheduler}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = pd.read_parquet(tmp_path / "out").sort_values("number")
    with edgepipe.pipeline(model=str(bundle)) as classify:
        expected = [classify(text)[0] if text else {"label": None, "score": None} for text in TEXTS]
    assert found["number"].tolist() == list(range(len(TEXTS)))
    assert [label if isinstance(label, str) else None for label in found["label"]] == [
        each["label"] for each in expected
    ]
    scores = [each["score"] for each in expected if each["score"] is not None]
    assert found["score"].dropna().tolist() == pytest.approx(scores, abs=1e-6)
    assert found["error"].isna().all()
