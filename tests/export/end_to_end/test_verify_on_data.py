"""``edgepipe verify --calibration``: the gate's figures once more, of a bundle that is finished."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgepipe import Bundle, pipeline
from edgepipe.bundle.manifest import Manifest
from edgepipe.cli.main import cli
from edgepipe.errors import InputError
from edgepipe_export import export, verify
from edgepipe_export.calibration.split import measure_all
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.checks import Check
from edgepipe_export.evaluation.comparison import load_dataset, make_comparison
from edgepipe_export.evaluation.tolerances import Tolerance
from edgepipe_export.output.progress import Steps
from edgepipe_export.verifier import Verification


@pytest.fixture(scope="module")
def labelled(exported: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts with the labels that fp32 gives them: its accuracy is 1, and what is lost shows."""
    path = tmp_path_factory.mktemp("calibration") / "own.jsonl"
    classify = pipeline("text-classification", exported, dtype="fp32")
    rows = ({"text": text, "label": classify(text)[0]["label"]} for text in sentences()[:40])
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def gated(checkpoint: Path, labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose variants were measured on those texts at export; not to be changed."""
    output = tmp_path_factory.mktemp("gated") / "out"
    return export(checkpoint, output, dtypes=("fp32", "int8"), calibration=labelled, max_drop=30)


def last(verification: Verification, dtype: str) -> Check:
    """The comparison of the results on the data."""
    return [row for row in verification.rows if row.dtype == dtype][-1]


def test_the_figures_are_those_of_the_export(gated: Bundle, checkpoint: Path, labelled: Path) -> None:
    verification = verify(gated, checkpoint, calibration=labelled, max_drop=30)
    assert verification.passed
    assert gated.manifest is not None
    recorded = gated.manifest.variants["int8"].parity
    assert recorded is not None
    int8, fp32 = last(verification, "int8"), last(verification, "fp32")
    assert (int8.reference, int8.compared) == ("fp32", 40)
    measured = {name: value for row in verification.rows if row.dtype == "int8" for name, value in row.figures.items()}
    assert measured == dict(recorded.figures)
    assert (fp32.reference, fp32.compared) == ("pytorch-fp32", 40)
    assert fp32.figures["accuracy"] == fp32.figures["reference_accuracy"] == 1
    assert any(row.check == "tensors, random ids" for row in verification.rows)
    accuracy = recorded.figures["accuracy"]
    assert f"int8, pipeline, top_k=None: mean_score_diff {recorded.figures['mean_score_diff']:.5g}, " \
        f"accuracy {accuracy:.5g}, reference_accuracy 1" in verification.table()  # fmt: skip


def test_a_variant_alone_is_compared_with_pytorch(copied: Path, checkpoint: Path, labelled: Path) -> None:
    for path in (copied / "onnx").glob("model.onnx*"):
        path.unlink()
    int8 = last(verify(copied, checkpoint, calibration=labelled, max_drop=100), "int8")
    assert int8.reference == "pytorch-fp32"
    assert int8.figures["reference_accuracy"] == 1


def test_the_command_line_ends_with_1_where_one_misses(gated: Bundle, checkpoint: Path, labelled: Path) -> None:
    arguments = ["verify", str(gated.path), str(checkpoint), "--dtype", "int8", "--calibration", str(labelled)]
    missed = CliRunner().invoke(cli, [*arguments, "--max-drop", "0"])
    assert missed.exit_code == 1
    assert "FAILED: int8 against fp32, pipeline" in missed.output
    assert "accuracy at most 0 points below the reference's" in missed.output
    kept = CliRunner().invoke(cli, [*arguments, "--max-drop", "30", "--json"])
    assert kept.exit_code == 0
    assert json.loads(kept.output)["passed"] is True


def test_data_that_does_not_fit(gated: Bundle, checkpoint: Path, labelled: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="texts and calibration"):
        verify(gated, checkpoint, texts=["one"], calibration=labelled)
    with pytest.raises(InputError, match=r"none\.csv"):
        verify(gated, checkpoint, calibration=tmp_path / "none.csv")
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("text,label\nGood.,superb\n", encoding="utf-8")
    with pytest.raises(InputError, match="label superb; the model has bad, fair, good"):
        verify(gated, checkpoint, calibration=wrong)


def test_what_writes_is_measured_by_its_perplexity(
    writer: Callable[[str], tuple[Any, Any, Bundle]], tmp_path: Path
) -> None:
    model, tokenizer, bundle = writer("gpt2")
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(sentences()[:5]), encoding="utf-8")
    verification = verify(bundle, model, tokenizer=tokenizer, calibration=texts, dtype="fp32")
    foretold = last(verification, "fp32")
    assert verification.passed
    assert (foretold.reference, foretold.compared) == ("pytorch-fp32", 5)
    assert foretold.figures["perplexity"] == pytest.approx(foretold.figures["reference_perplexity"], rel=1e-3)


@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_a_check_takes_as_many_steps_as_it_said(dtype: str, gated: Bundle, checkpoint: Path, labelled: Path) -> None:
    loaded, steps = load(resolve(Request(checkpoint))), Steps()
    data = load_dataset(labelled, loaded)
    comparison = make_comparison(gated, loaded, loaded.checkpoint.task, data=measure_all(data), steps=steps)
    for _ in range(2):  # the second time the reference knows its answers
        told: list[int] = []
        with steps.report_to(lambda done, total, told=told: told.append(done), 10_000):  # type: ignore[misc]
            comparison.check(dtype, "pytorch-fp32" if dtype == "fp32" else "fp32", Tolerance.from_max_drop(30))
        assert told[-1] == comparison.count_steps(dtype)


def test_a_manifest_that_boasts(copied: Path, checkpoint: Path) -> None:
    path = copied / "edgepipe.json"
    manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
    honest = verify(copied, checkpoint)
    assert {each.reproduced for each in honest.figures} == {True}
    assert "fp32: 3 of 3 recorded figures came out the same" in honest.table()
    parity = manifest.variants["int8"].parity
    assert parity is not None
    boast = replace(manifest.variants["int8"], parity=replace(parity, figures={**parity.figures, "kl": 0.0}))
    path.write_text(replace(manifest, variants={**manifest.variants, "int8": boast}).to_json(), encoding="utf-8")
    found = verify(Bundle.load(copied), checkpoint)
    assert [(each.dtype, each.name) for each in found.figures if not each.reproduced] == [("int8", "figures.kl")]
    assert "int8: figures.kl is " in found.table()
