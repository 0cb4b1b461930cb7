"""What is told of onnxruntime's installation, and of NVIDIA's driver where its files are."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import onnxruntime
import pytest

from edgepipe.backend.onnxruntime import installation
from edgepipe.backend.onnxruntime.installation import describe_installation


def test_the_installed_onnxruntime() -> None:
    found = describe_installation()
    assert found["version"] == onnxruntime.__version__
    assert found["providers"] == onnxruntime.get_available_providers()
    assert found["packages"]
    assert all(version(name) == number for name, number in found["packages"].items())


def test_the_driver_s_files_name_it_and_its_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_NVIDIA", tmp_path)
    assert (installation._read_driver(), installation._read_models()) == (None, [])
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX  x86_64 Kernel Module  550.54.15\nGCC version: 12\n")
    for name, model in (("0000:01:00.0", "A GPU"), ("0000:02:00.0", "Another: GPU")):
        folder = tmp_path / "gpus" / name
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 64\n")
    assert installation._read_driver() == "NVIDIA UNIX x86_64 Kernel Module 550.54.15"
    assert installation._read_models() == ["A GPU", "Another: GPU"]
