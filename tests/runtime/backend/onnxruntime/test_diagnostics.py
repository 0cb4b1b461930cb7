"""What onnxruntime says when it fails, told again with the cause."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgepipe.backend.onnxruntime.cuda_diagnostics import query_driver
from edgepipe.backend.onnxruntime.diagnostics import check_gpu, explain_run_failure
from edgepipe.errors import BundleError, DeviceError, OutOfMemoryError
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import write_bundle


def test_onnxruntime_says_nothing_about_a_refused_graph(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    program = """
        import os
        import sys
        from pathlib import Path
        from edgepipe.errors import BundleError
        from edgepipe.backend.engines import create_session
        os.dup2(1, 2)  # onnxruntime logs from C++ to file descriptor 2
        try:
            create_session(Path(sys.argv[1]))
        except BundleError:
            print("refused")
    """
    assert run_python(program, str(tmp_path / "model.onnx")) == "refused\n"


RECORDED = json.loads((Path(__file__).parents[3] / "data" / "cuda" / "causes.json").read_text(encoding="utf-8"))


def test_the_driver_is_asked_before_a_session_is_started() -> None:
    if query_driver().driver:
        pytest.skip("there is an NVIDIA driver")
    check_gpu(["CPUExecutionProvider"])
    for provider, index in [("CUDAExecutionProvider", 0), (("CUDAExecutionProvider", {"device_id": 2}), 2)]:
        with pytest.raises(DeviceError, match=rf"could not start CUDAExecutionProvider for GPU {index}: there is no"):
            check_gpu([provider, "CPUExecutionProvider"])


@pytest.mark.parametrize("row", RECORDED["memory"], ids=lambda row: row["onnxruntime"])
def test_memory_that_ran_out_is_told_from_other_failures(row: dict[str, Any]) -> None:
    error = explain_run_failure("the graph failed", RuntimeError(row["said"]))
    assert isinstance(error, OutOfMemoryError)
    assert isinstance(error, MemoryError)
    assert "batch_size=" in str(error)
    if row["bytes"]:
        assert f"{row['bytes']:,} bytes were asked for" in str(error)


def test_another_failure_is_not_about_memory() -> None:
    error = explain_run_failure("the graph failed", RuntimeError("Got invalid dimensions for input\nand a stack"))
    assert type(error) is BundleError
    assert str(error) == "the graph failed: Got invalid dimensions for input"


def test_a_batch_that_is_too_large_for_the_memory(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "RLIMIT_AS") or not Path("/proc/self/statm").is_file():
        pytest.skip("the memory of a process cannot be limited here")
    program = """
        import os, resource, sys
        from pathlib import Path
        import numpy as np
        from edgepipe import Model
        from edgepipe.errors import OutOfMemoryError
        os.dup2(1, 2)  # onnxruntime logs from C++ to file descriptor 2
        model = Model.from_pretrained(sys.argv[1])
        ids = np.zeros((1_000_000, 16), np.int64)
        mask = np.ones_like(ids)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, used + 2**27))
        try:
            model(input_ids=ids, attention_mask=mask)
        except OutOfMemoryError as error:
            print(error)
    """
    said = run_python(program, str(write_bundle(tmp_path / "bundle"))).splitlines()
    assert len(said) == 1, "onnxruntime logs what the error says"
    assert "memory ran out when 192,000,000 bytes were asked for at once" in said[0]
