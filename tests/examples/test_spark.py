"""``examples/spark``: a DataFrame in local mode gets what the pipeline gives, where Java and pyspark are."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

import edgepipe
from tests.conftest import REPOSITORY
from tests.runtime.small_bundle import write_bundle

PROGRAM = REPOSITORY / "examples" / "spark" / "classify.py"
TEXTS = ["good", None, "a movie that nobody has to see", "great acting " * 9, ""] * 4


def test_it_compiles() -> None:
    compile(PROGRAM.read_text(encoding="utf-8"), str(PROGRAM), "exec")


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    pyspark = pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(PROGRAM.parent), *filter(None, sys.path)]))
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        builder = pyspark.sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
        found = builder.config("spark.sql.shuffle.partitions", "2").getOrCreate()
        yield found
        found.stop()


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = spec_from_file_location("classify", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "classify", module)
    spec.loader.exec_module(module)
    return module


def test_both_functions_give_what_the_pipeline_gives(spark: Any, program: Any, tmp_path: Path) -> None:
    bundle = str(write_bundle(tmp_path / "bundle"))
    rows = list(enumerate(TEXTS))
    frame = spark.createDataFrame(rows, "number int, review string").repartition(4)
    found = sorted(program.add_results(frame, bundle, "review").collect(), key=lambda row: row.number)
    label = program.make_udf(bundle)
    labels = {row.number: row.label for row in frame.select("number", label("review").alias("label")).collect()}
    with edgepipe.pipeline(model=bundle) as classify:
        for (number, text), row in zip(rows, found, strict=True):
            expected = classify(text)[0] if text else {"label": None, "score": None}
            assert (row.number, row.review, row.error) == (number, text, None)
            assert row.label == expected["label"]
            assert row.score == pytest.approx(expected["score"], abs=1e-6)
            assert labels[number] == expected["label"]
