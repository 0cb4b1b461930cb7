"""``edgepipe demo`` on a small bundle: labels, variants, and that torch stays out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepipe import pipeline
from edgepipe.cli.demo import SENTENCES, export_in_subprocess, run_demo
from edgepipe.cli.main import cli
from edgepipe.errors import ExportError
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import write_bundle


def test_every_text_and_every_variant_has_a_line(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", dtypes=("fp32", "int8"))
    labels, variants, _ = run_demo(folder).split("\n\n")
    classify = {dtype: pipeline(model=folder, dtype=dtype) for dtype in ("fp32", "int8")}
    expected = []
    for sentence in SENTENCES:
        for dtype, pipe in classify.items():
            best = pipe(sentence)[0]
            expected.append([sentence, dtype, best["label"], f"{best['score']:.4f}"])
    assert [re.split(" {2,}", line) for line in labels.splitlines()[2:]] == expected
    rows = [re.split(" {2,}", line) for line in variants.splitlines()[2:]]
    assert [row[0] for row in rows] == ["fp32", "int8"]
    assert all(re.fullmatch(r"\d+\.\d\d ms", row[2]) for row in rows)


def test_the_embedded_model_is_shown_without_torch() -> None:
    program = """
        from click.testing import CliRunner
        from edgepipe.cli.main import cli
        print(CliRunner().invoke(cli, ["demo"], catch_exceptions=False).output)
    """
    said = run_python(program)
    assert said.rstrip().endswith("text-classification on onnxruntime; torch is not loaded in this process.")
    assert re.search(r"I love this +\w+ +POSITIVE +0\.9", said)


def test_an_export_that_fails_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.executable", "false")
    with pytest.raises(ExportError, match="the export of a-model failed, see above"):
        export_in_subprocess("a-model", tmp_path / "out")
    result = CliRunner().invoke(cli, ["demo", "a-model"])
    assert isinstance(result.exception, ExportError)
    assert capfd.readouterr().out == ""
