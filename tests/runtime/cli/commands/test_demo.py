"""``edgepipe demo``: labels of every variant, what is compared, and that torch stays out."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepipe import Bundle, pipeline
from edgepipe.cli.commands.demo import SENTENCES, Measured, answer, compare, export_in_subprocess, show_labels
from edgepipe.cli.main import cli
from edgepipe.errors import ExportError
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import write_bundle
from tests.tiny import build


def cells(line: str) -> list[str]:
    return re.split(" {2,}", line)


def test_every_text_has_a_line_and_every_variant_a_column(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", dtypes=("fp32", "int8"))
    head, _, *lines = show_labels(answer(Bundle.load(folder))).splitlines()
    assert cells(head) == ["text", "fp32", "int8"]
    classify = [pipeline(model=folder, dtype=dtype) for dtype in ("fp32", "int8")]
    best = [[pipe(sentence)[0] for pipe in classify] for sentence in SENTENCES]
    assert [cells(line) for line in lines] == [
        [sentence, *(f"{label['label']} {label['score']:.4f}" for label in labels)]
        for sentence, labels in zip(SENTENCES, best, strict=True)
    ]


def test_the_embedded_model_is_shown_without_torch() -> None:
    program = """
        import sys
        from click.testing import CliRunner
        from edgepipe.cli.main import cli
        print(CliRunner().invoke(cli, ["demo"], catch_exceptions=False).output)
        print("torch" in sys.modules)
    """
    said = run_python(program).splitlines()
    assert said[-1] == "False"
    (loved,) = (line for line in said if line.startswith("I love this"))
    assert re.match(r"I love this +POSITIVE 0\.9", loved)


def test_the_last_is_compared_with_the_first() -> None:
    measured = [
        Measured("transformers", 4_000_000, 8.0, 3000.0, 500_000_000),
        Measured("fp32", 4_000_000, 4.0, 300.0, 100_000_000, "9 of 9, as PyTorch"),
        Measured("int8", 1_000_000, 2.0, 150.0, 50_000_000, "8 of 9, as fp32"),
    ]
    grid, sentence = compare(measured).split("\n\n")
    assert [cells(line.strip())[0] for line in grid.splitlines()[2:]] == ["transformers", "fp32", "int8"]
    assert grid.splitlines()[-1].endswith("8 of 9, as fp32")
    gains = "4.0 x smaller, 4.0 x faster, 20.0 x faster to start, 10.0 x less memory."
    assert sentence == f"int8, beside transformers: {gains}"


def test_memory_that_is_not_known_is_not_compared() -> None:
    measured = [Measured("transformers", 4, 8.0, 3.0, None), Measured("int8", 1, 2.0, 1.0, 5)]
    assert compare(measured).endswith("4.0 x smaller, 4.0 x faster, 3.0 x faster to start.")


def test_a_checkpoint_is_exported_and_compared_with_transformers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("edgepipe.cli.commands.demo._STARTS", 1)
    build("bert", directory=tmp_path / "checkpoint")
    result = CliRunner().invoke(cli, ["demo", str(tmp_path / "checkpoint")], catch_exceptions=False)
    assert result.exit_code == 0
    rows = [cells(line.strip()) for line in result.output.splitlines()]
    named = {row[0]: row[1:] for row in rows}
    assert named["transformers, PyTorch"][-1] == "-"
    assert re.fullmatch(r"(\d+) of \1, as PyTorch", named["edgepipe, fp32"][-1])
    assert re.fullmatch(r"\d+ of \d+, as fp32", named["edgepipe, int8"][-1])
    assert re.search(r"edgepipe, int8, beside transformers, PyTorch: \d+\.\d x smaller, ", result.output)
    assert result.stderr.splitlines()[1:] == [
        "Measuring size, speed and memory ...",
        *("transformers, 1 of 1", "edgepipe, fp32", "edgepipe, int8"),
    ]


def test_json_of_a_checkpoint_has_labels_and_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    exported: list[object] = []

    def export(checkpoint: str, output: Path, *, quiet: bool) -> None:
        exported.append((checkpoint, quiet))
        write_bundle(output, ("fp32", "int8"))

    monkeypatch.setattr("edgepipe.cli.commands.demo.export_in_subprocess", export)
    measured = [Measured("transformers", 4, 8.0, 3.0, None), Measured("int8", 1, 2.0, 1.0, 5, "9 of 9, as fp32")]
    monkeypatch.setattr("edgepipe.cli.commands.demo.measure", lambda *_, **__: measured)
    result = CliRunner().invoke(cli, ["demo", "a-model", "--json", "-q"], catch_exceptions=False)
    found = json.loads(result.stdout)
    assert (found["model"], result.stderr, exported) == ("a-model", "", [("a-model", True)])
    assert found["measured"] == list(map(asdict, measured))
    assert [(entry["dtype"], entry["text"]) for entry in found["labels"]] == [
        (dtype, text) for dtype in ("fp32", "int8") for text in SENTENCES
    ]


def test_json_of_the_embedded_model_has_its_labels() -> None:
    found = json.loads(CliRunner().invoke(cli, ["demo", "--json"], catch_exceptions=False).stdout)
    assert (found["model"], found["measured"]) == (None, [])
    assert {entry["text"]: entry["label"] for entry in found["labels"]}["I love this"] == "POSITIVE"
    assert all(set(entry) == {"dtype", "text", "label", "score"} for entry in found["labels"])


def test_another_task_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build("bert", task="token-classification", directory=tmp_path / "checkpoint")
    with pytest.raises(ExportError, match=r"the export of .* failed, see above"):
        export_in_subprocess(str(tmp_path / "checkpoint"), tmp_path / "out")
    assert "text-classification" in capfd.readouterr().err


def test_an_export_of_nothing_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExportError, match=r"the export of .* failed, see above"):
        export_in_subprocess(str(tmp_path), tmp_path / "out")
    assert "config.json" in capfd.readouterr().err


def test_an_export_that_fails_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(ExportError, match="the export of a-model failed, see above"):
        export_in_subprocess("a-model", tmp_path / "out")
    result = CliRunner().invoke(cli, ["demo", "a-model"])
    assert isinstance(result.exception, ExportError)
    assert capfd.readouterr().out == ""
