"""Comparison of encoders: a tiny bundle with PyTorch, with itself, and with a graph that was ruined."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepipe import Bundle
from edgepipe_export.calibration.dataset import Dataset
from edgepipe_export.calibration.split import Split, measure_all
from edgepipe_export.checkpoint.load import LoadedCheckpoint, load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.checks import PYTORCH
from edgepipe_export.evaluation.encoder_comparison import EncoderComparison
from edgepipe_export.evaluation.tolerances import Tolerance
from edgepipe_export.output.progress import Steps
from edgepipe_export.output.workspace import Workspace
from edgepipe_export.quantization.target import Target
from tests.conftest import Exported
from tests.tiny import build

TEXTS = tuple(f"{'a word and ' * number}another text" for number in range(15))  # the last as long as the model takes
DATA = Dataset(TEXTS, None, "own.txt")


@pytest.fixture
def made(tiny_export: Callable[..., Exported]) -> Exported:
    return tiny_export("bert")


def load_model(model: object, tokenizer: object) -> LoadedCheckpoint:
    return load(resolve(Request(model, "text-classification", tokenizer)))  # type: ignore[arg-type]


def compare(made: Exported, data: Split | None = None, steps: Steps | None = None) -> EncoderComparison:
    loaded = load_model(made.model, made.tokenizer)
    data = data or measure_all(DATA)
    return EncoderComparison(made.bundle, loaded, loaded.checkpoint.task, data, TEXTS[:3], None, steps or Steps())


@pytest.fixture
def quantized(made: Exported, tmp_path: Path) -> Bundle:
    """A copy with 4 bits, which is not the same."""
    folder = Path(shutil.copytree(made.bundle.path, tmp_path / "bundle"))
    assert made.bundle.manifest is not None
    workspace = Workspace(folder, made.bundle.manifest, ("model",), Target("vnni"))
    workspace.make("q4")
    return workspace.bundle


def test_fp32_must_give_what_pytorch_gives(made: Exported) -> None:
    comparison = compare(made)
    checks = comparison.check("fp32", PYTORCH, Tolerance())
    assert all(check.passed for check in checks), [str(check) for check in checks]
    assert {(check.dtype, check.reference) for check in checks} == {("fp32", PYTORCH)}
    assert [check.compared for check in checks if check.check == "pipeline"] == [3], "on the texts"


def test_another_model_is_told_apart(made: Exported) -> None:
    loaded = load_model(*build("bert", seed=1))
    other = EncoderComparison(made.bundle, loaded, loaded.checkpoint.task, measure_all(DATA), TEXTS[:3], None, Steps())
    assert not any(check.passed for check in other.check("fp32", PYTORCH, Tolerance()) if check.differences)


def test_others_are_decided_by_the_gate(made: Exported, quantized: Bundle) -> None:
    comparison = compare(made)
    tensors, results = comparison.check("q4", "fp32", Tolerance(agreement=0.0), quantized)
    assert (tensors.check, results.check) == ("tensors, texts", "pipeline, top_k=None")
    assert (tensors.dtype, tensors.reference, results.compared) == ("q4", "fp32", len(TEXTS)), "on the data"
    assert tensors.differences["logits"] > 0
    assert results.passed is (results.agreement == 1)
    assert comparison.check("q4", "fp32", Tolerance(agreement=100.0), quantized)[1].passed


def test_the_gate_measures_fp32_too(made: Exported) -> None:
    checks = compare(made).measure("fp32", PYTORCH, Tolerance())
    assert [check.check for check in checks] == ["tensors, texts", "pipeline, top_k=None"]
    assert all(check.passed for check in checks)


@pytest.mark.parametrize("dtype", ["fp32", "q4"])
def test_it_takes_as_many_steps_as_it_says(dtype: str, made: Exported, quantized: Bundle) -> None:
    steps = Steps()
    comparison = compare(made, steps=steps)
    reached: list[int] = []
    with steps.report_to(lambda done, total: reached.append(done), 10_000):
        comparison.check(dtype, PYTORCH if dtype == "fp32" else "fp32", Tolerance(), quantized)
    assert reached[-1] == comparison.count_steps(dtype)


def test_fp32_is_at_no_distance_from_itself(made: Exported, quantized: Bundle) -> None:
    comparison = compare(made)
    assert comparison.distance("fp32", made.bundle) == 0
    assert comparison.distance("q4", quantized) > 0


def test_layers_are_chosen_on_what_recipes_are_calibrated_with(made: Exported, quantized: Bundle) -> None:
    apart = Split(DATA, DATA.select((0, 1)), DATA.select(range(2, 15)), 0)
    comparison = compare(made, apart)
    assert comparison.calibration_distance("q4", quantized) != comparison.distance("q4", quantized)
    uncalibrated = compare(made)
    assert uncalibrated.calibration_distance("q4", quantized) == uncalibrated.distance("q4", quantized)


def test_texts_of_typical_lengths_are_timed_one_by_one(made: Exported) -> None:
    run = compare(made).timed_run("fp32", made.bundle)
    assert run() == run() == 8
