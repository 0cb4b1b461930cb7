"""``examples/parity_in_ci``: it passes for a bundle of the checkpoint, and each of its tests fails where it must."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "parity_in_ci"
CHECKPOINT = REPOSITORY / "models" / "default"
TESTS = {
    "test_no_file_was_altered",
    "test_the_data_have_the_labels_of_the_model",
    "test_fp32_gives_the_results_of_pytorch",
    *(f"{name}[{dtype}]" for name in ("test_labels_agree", "test_accuracy_stays") for dtype in ("fp32", "int8")),
    "test_it_fits[int8-150]",
}


def run(folder: Path, checkpoint: Path, bundle: Path | None = None) -> tuple[set[str], set[str], str]:
    """Run a copy of the example; which tests passed, which did not, and what was printed."""
    environment = {name: value for name, value in os.environ.items() if name != "BUNDLE"}
    environment |= {"CHECKPOINT": str(checkpoint)} | ({"BUNDLE": str(bundle)} if bundle else {})
    command = [sys.executable, "-m", "pytest", "test_parity.py", "-rA", "-p", "no:cacheprovider", "--rootdir", "."]
    done = subprocess.run(
        [*command, "--basetemp", "temporary"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    outcomes = re.findall(r"^(PASSED|FAILED|ERROR) test_parity\.py::(\S+)", done.stdout, re.MULTILINE)
    assert outcomes, done.stdout + done.stderr
    passed = {name for outcome, name in outcomes if outcome == "PASSED"}
    return passed, {name for _, name in outcomes} - passed, done.stdout


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "copied"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the example exports where no bundle is named; all its tests pass then."""
    folder = Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("exporting") / "copied"))
    passed, failed, said = run(folder, CHECKPOINT)
    assert (passed, failed) == (TESTS, set()), said
    return folder / "temporary" / "export0" / "bundle"


def test_other_labels_and_a_size_that_is_too_large_are_found(copied: Path, bundle: Path, tmp_path: Path) -> None:
    altered = Path(shutil.copytree(bundle, tmp_path / "altered"))
    config = json.loads((altered / "config.json").read_text(encoding="utf-8"))
    first, second = config["id2label"].values()
    config["id2label"] = {"0": second, "1": first}
    (altered / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    text = (copied / "test_parity.py").read_text(encoding="utf-8")
    (copied / "test_parity.py").write_text(text.replace('{"int8": 150}', '{"int8": 1}'), encoding="utf-8")
    passed, failed, said = run(copied, CHECKPOINT, altered)
    assert passed == {"test_the_data_have_the_labels_of_the_model"}
    assert failed == TESTS - passed - {"test_it_fits[int8-150]"} | {"test_it_fits[int8-1]"}
    assert "'I love this': NEGATIVE instead of POSITIVE" in said


def test_a_checkpoint_that_was_trained_further_is_found(copied: Path, bundle: Path, tmp_path: Path) -> None:
    """A little: no label is another, but the scores are."""
    trained = Path(shutil.copytree(CHECKPOINT, tmp_path / "trained"))
    weights = load_file(trained / "model.safetensors")
    weights["classifier.bias"][0] += 0.01
    save_file(weights, trained / "model.safetensors", {"format": "pt"})
    passed, failed, _ = run(copied, trained, bundle)
    assert failed == {"test_fp32_gives_the_results_of_pytorch"}
    assert passed == TESTS - failed


def test_labels_that_the_model_does_not_know_are_found(copied: Path, bundle: Path) -> None:
    data = (copied / "data.tsv").read_text(encoding="utf-8")
    (copied / "data.tsv").write_text(data.replace("\tPOSITIVE\n", "\tGOOD\n"), encoding="utf-8")
    _, failed, _ = run(copied, CHECKPOINT, bundle)
    assert failed == {"test_the_data_have_the_labels_of_the_model"}


def test_too_few_texts_are_told(copied: Path, bundle: Path) -> None:
    lines = (copied / "data.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (copied / "data.tsv").write_text("".join(lines[:21]), encoding="utf-8")
    passed, failed, said = run(copied, CHECKPOINT, bundle)
    assert passed == {"test_no_file_was_altered", "test_it_fits[int8-150]"}
    assert failed == TESTS - passed
    assert "20 texts cannot tell 99.0%" in said


def test_the_workflow_runs_the_test() -> None:
    workflow = yaml.safe_load((EXAMPLE / "parity.yml").read_text(encoding="utf-8"))
    [job] = workflow["jobs"].values()
    *_, installing, testing = job["steps"]
    assert installing["run"] == "pip install 'edgepipe[export]' pytest"
    assert testing == {"run": "pytest test_parity.py", "env": {"CHECKPOINT": "my-finetuned-model"}}
