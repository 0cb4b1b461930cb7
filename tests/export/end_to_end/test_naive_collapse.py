"""Static quantization as other tools do it ruins a real model for entities; a repair takes out what ruins it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgepipe.pipelines.base import read_labels
from edgepipe_export import export
from edgepipe_export.calibration.split import Split
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.comparison import calibration_batches, make_comparison
from edgepipe_export.evaluation.tasks import read_dataset
from edgepipe_export.evaluation.tolerances import Tolerance
from edgepipe_export.output.workspace import Workspace
from edgepipe_export.quantization.quantize import default_options
from edgepipe_export.quantization.target import find_target
from edgepipe_export.selection.evaluator import Evaluator
from tests.conftest import shared

DTYPE = "int8-static"
CALIBRATED, MEASURED = 32, 200
# Seconds. Operators are measured first: they are reached on a slow machine, too.
BUDGET = 400


def some(part: str, count: int, folder: Path) -> Path:
    """The first sentences of a part of WikiANN."""
    path = folder / f"{part}.conll"
    text = shared("data", "wikiann", path.name).read_text(encoding="utf-8")
    path.write_text("\n\n".join(text.split("\n\n")[:count]), encoding="utf-8")
    return path


@pytest.mark.coverage  # minutes: the cost of each of 45 layers is measured
def test_entities_are_lost_and_found_again(tmp_path: Path) -> None:
    checkpoint = shared("checkpoints", "minilm-ner", "model.safetensors").parent
    folder = tmp_path / "bundle"
    manifest = export(checkpoint, folder, verify=False).manifest
    assert manifest is not None
    loaded = load(resolve(Request(checkpoint, None, None, None, False, False)))
    task, labels = loaded.checkpoint.task, read_labels(loaded.model.config.to_dict())
    train, dev = (
        read_dataset(some(part, count, tmp_path), task.name, labels, loaded.tokenizer)
        for part, count in (("train", CALIBRATED), ("dev", MEASURED))
    )
    naive = replace(default_options(DTYPE), everything=True, smoothing=0.0)
    workspace = Workspace(folder, manifest, ("model",), find_target(), options={DTYPE: naive})
    workspace.batches = calibration_batches(workspace.bundle, task, train)
    data = Split(dev, train, dev, 0)
    comparison = make_comparison(workspace.bundle, loaded, task, data=data)
    gate = Evaluator(workspace, comparison, data, Tolerance.from_max_drop(None))
    workspace.make(DTYPE)
    gate.measured[DTYPE] = gate.check(DTYPE)
    (before,) = (check for check in gate.measured[DTYPE].checks if "f1" in check.figures)
    assert not before.passed
    assert before.figures["f1"] < 0.5 * before.figures["reference_f1"]

    assert gate.repair(DTYPE, BUDGET)
    (after,) = (check for check in gate.measured[DTYPE].checks if "f1" in check.figures)
    assert after.passed
    assert after.figures["reference_f1"] - after.figures["f1"] <= 0.005
    recipe = workspace.manifest.variants[DTYPE].recipe
    assert recipe["everything"]
    # Softmax and the addition of the mask ruin it; most of the graph stays in 8 bits.
    assert {"Add": "fp32", "Softmax": "fp32"}.items() <= recipe["precisions"].items()
    assert len(recipe["precisions"]) < len(workspace.layers(DTYPE)) / 2
    ranked = [entry.layer for entry in gate.measured[DTYPE].sensitivities]
    assert set(ranked[:2]) == {"Add", "Softmax"}
