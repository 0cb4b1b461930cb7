"""``optimum-cli export edgepipe`` from the built wheel, in environments with nothing of ours but the wheel."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from edgepipe import Bundle, pipeline
from tests.interop.environments import make, optimum_python
from tests.packaging.conftest import REPOSITORY, checked
from tests.tiny import build

pytestmark = pytest.mark.environments

# Kept for the next run; the wheel is installed anew each time.
TODAY = REPOSITORY / "tests" / "packaging" / ".venv-optimum"


@pytest.fixture(scope="module")
def today(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment with the newest optimum there is, and the wheel with its extra."""
    pins = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    constraints = tmp_path_factory.mktemp("constraints") / "constraints.txt"
    constraints.write_text("\n".join(pin for pin in pins if not pin.startswith("optimum==")), encoding="utf-8")
    python = make(TODAY, ["torch=={}".format(version("torch").partition("+")[0])])
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    checked([*pip, "--upgrade", "-c", constraints, f"{wheel}[optimum]", "optimum"])
    checked([*pip, "--force-reinstall", "--no-deps", wheel])
    return python.parent


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny-bert"
    build("bert", directory=path, labels=("bad", "fair", "good"))
    return path


def test_the_wheel_and_its_extra_export(today: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert "edgepipe" in checked([today / "optimum-cli", "export", "--help"])
    options = ["--task", "sequence-classification", "--dtype", "fp32,w8", "--max-drop", "20"]
    said = checked([today / "optimum-cli", "export", "edgepipe", "-m", checkpoint, tmp_path / "bundle", *options])
    assert "text-classification" in said
    bundle = Bundle.load(tmp_path / "bundle")
    assert bundle.manifest is not None
    assert all(bundle.manifest.variants[dtype].parity for dtype in ("fp32", "w8"))
    assert bundle.check()
    assert pipeline(model=bundle)("I love this")[0]["label"] in ("bad", "fair", "good")


def test_a_task_that_is_not_ours_is_one_line(today: Path, checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["-m", checkpoint, tmp_path / "bundle", "--task", "image-classification"]
    done = subprocess.run(
        [today / "optimum-cli", "export", "edgepipe", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: edgepipe has no task 'image-classification'")
    assert "Traceback" not in done.stderr


def test_beside_optimum_onnx_the_command_says_what_it_lacks(wheel: Path, checkpoint: Path, tmp_path: Path) -> None:
    """optimum-onnx 0.1.0 holds transformers below what the exporter needs; both exports are there all the same."""
    python = optimum_python()
    ours = tmp_path / "ours"
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", ours]
    checked([python, *install, wheel, f"click=={version('click')}"])
    environment = os.environ | {"PYTHONPATH": str(ours)}
    listed = checked([python.parent / "optimum-cli", "export", "--help"], env=environment)
    assert {"onnx", "edgepipe"} <= set(listed.split())
    done = subprocess.run(
        [python.parent / "optimum-cli", "export", "edgepipe", "-m", checkpoint, tmp_path / "bundle"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 1
    assert "edgepipe[export]" in done.stderr
    assert "Traceback" not in done.stderr
