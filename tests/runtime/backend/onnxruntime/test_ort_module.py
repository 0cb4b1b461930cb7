"""Which onnxruntime is loaded: only another process can tell, since this one has imported it."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from edgepipe.backend.onnxruntime.ort_module import load_ort, ort_errors
from tests.runtime.processes import run_python


def lay_out_site(folder: Path, *packages: str) -> Path:
    """A site directory with the real onnxruntime and the records of `packages`."""
    (folder / "onnxruntime").symlink_to(Path(onnxruntime.__file__).parent, target_is_directory=True)
    for package in packages:
        record = folder / f"{package}-1.0.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    return folder


LOAD = """
import sys
from edgepipe import Model
from edgepipe.errors import DependencyError
try:
    model = Model.from_pretrained(sys.argv[1])
    print("loaded", model.session.providers)
except DependencyError as error:
    print("DependencyError:", error)
"""


def test_one_package_installed(folder: Path, tmp_path: Path) -> None:
    site = lay_out_site(tmp_path, "onnxruntime", "onnxruntime_extensions")
    assert run_python(LOAD, str(folder), env={"PYTHONPATH": str(site)}).startswith("loaded")


def test_both_packages_installed(folder: Path, tmp_path: Path) -> None:
    site = lay_out_site(tmp_path, "onnxruntime", "onnxruntime_gpu")
    said = run_python(LOAD, str(folder), env={"PYTHONPATH": str(site)})
    assert said.startswith("DependencyError: both onnxruntime and onnxruntime-gpu are installed")
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in said


def test_no_package_installed(folder: Path) -> None:
    said = run_python(LOAD, str(folder), blocked=("onnxruntime",))
    assert said.startswith("DependencyError: onnxruntime cannot be imported")
    assert "edgepipe[cpu]" in said


def test_onnxruntime_is_told_not_to_report_use(folder: Path, tmp_path: Path) -> None:
    program = """
        import os
        import sys
        os.environ.pop("ORT_DISABLE_TELEMETRY", None)
        from edgepipe import Model
        Model.from_pretrained(sys.argv[1])(input_ids=[[2, 3]])
    """
    run_python(program, str(folder), env={"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_onnxruntime_raises_is_known_as_its_own(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a graph")
    assert load_ort() is onnxruntime
    for graph in (path, tmp_path / "nothing.onnx"):
        with pytest.raises(ort_errors()):
            load_ort().InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert all(issubclass(kind, Exception) for kind in ort_errors())
    assert not any(issubclass(OSError, kind) for kind in ort_errors())
