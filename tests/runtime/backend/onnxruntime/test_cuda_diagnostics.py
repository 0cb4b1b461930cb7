"""Why a GPU cannot be used, from what was recorded without one; memory that runs out, options of the provider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Model
from edgepipe.backend.onnxruntime.cuda_diagnostics import CudaState, find_cause, query_driver
from edgepipe.backend.onnxruntime.diagnostics import check_gpu, explain_run_failure
from edgepipe.backend.onnxruntime.providers import CUDA_OPTIONS, cuda_options, resolve_providers
from edgepipe.errors import BundleError, DeviceError, InputError, OutOfMemoryError
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import write_bundle

RECORDED = json.loads((Path(__file__).parents[3] / "data" / "cuda" / "causes.json").read_text(encoding="utf-8"))
STARTS = {row["name"]: row for row in RECORDED["starts"]}

# What each message says, and what it tells to do.
SAID = {
    "no driver": ["there is no NVIDIA driver (libcuda.so.1 ", "install it", "--gpus all"],
    "no GPU": ["shows no GPU: ", "nvidia-smi"],
    "hidden GPUs": ["shows no GPU (CUDA_VISIBLE_DEVICES is '')"],
    "a driver in two versions": ["do not fit each other (cuInit: 803)", "restart"],
    "a driver that does not start": ["does not start (cuInit: 999)", "nvidia-smi"],
    "no such GPU": ["there is no GPU 2, but 2 GPUs, 0 to 1"],
    "an old driver": ["too old: it knows CUDA up to 12.4", "built with CUDA 13.0", "update the driver", "1.22 to 1.26"],
    "no libraries": ["needs libcublasLt.so.13, which is not here", "pip install 'onnxruntime-gpu[cuda,cudnn]==1.31.1'"],
    "libraries of another major version": [
        "onnxruntime-gpu 1.22.0, built with CUDA 12.2, needs libcublasLt.so.12",
        "another major version, /site-packages/nvidia/cu13/lib/libcublasLt.so.13",
        "pip install 'onnxruntime-gpu[cuda,cudnn]==1.22.0'",
    ],
}


def findings(name: str) -> CudaState:
    found = STARTS[name]["found"]
    return CudaState(**found | {"supports": tuple(found["supports"]), "others": tuple(found["others"])})


@pytest.mark.parametrize("name", SAID)
def test_the_cause_is_said(name: str) -> None:
    said = find_cause(findings(name), STARTS[name]["gpu"])
    assert said is not None
    for part in SAID[name]:
        assert part in said


@pytest.mark.parametrize("name", STARTS)
def test_onnxruntime_did_not_use_the_gpu(name: str) -> None:
    # What was recorded is what this is about: it raised, or went on without a word.
    assert STARTS[name]["raised"] or STARTS[name]["started"] == ["CPUExecutionProvider"]


def test_the_driver_is_asked_before_a_session_is_started() -> None:
    if query_driver().driver:
        pytest.skip("there is an NVIDIA driver")
    check_gpu(["CPUExecutionProvider"])
    for provider, index in [("CUDAExecutionProvider", 0), (("CUDAExecutionProvider", {"device_id": 2}), 2)]:
        with pytest.raises(DeviceError, match=rf"could not start CUDAExecutionProvider for GPU {index}: there is no"):
            check_gpu([provider, "CPUExecutionProvider"])


def test_where_nothing_stands_in_the_way_no_cause_is_made_up() -> None:
    assert find_cause(findings("a GPU that fails"), 0) is None
    assert "there is no GPU 1, but only one GPU, 0" in str(find_cause(findings("a GPU that fails"), 1))


def test_a_library_that_the_loader_does_not_name() -> None:
    found = CudaState("1.31.1", "", True, 0, (13, 1), 1, None, "a name that says nothing")
    said = str(find_cause(found, 0))
    assert "onnxruntime-gpu 1.31.1 cannot load its CUDA library (a name that says nothing)" in said


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


def test_options_of_the_cuda_provider() -> None:
    assert cuda_options({}) == {"use_tf32": 0}, "PyTorch multiplies without TF32 unless told to"
    assert cuda_options({"use_tf32": 1, "gpu_mem_limit": 2**30}) == {"use_tf32": 1, "gpu_mem_limit": 2**30}
    assert {"gpu_mem_limit", "arena_extend_strategy", "user_compute_stream"} <= set(CUDA_OPTIONS)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("gpu_mem_limt", "did you mean 'gpu_mem_limit'"), ("tf32", "'use_tf32'"), ("xyz", "it has arena_")],
)
def test_an_option_that_is_none(name: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no option '{name}'; .*{hint}"):
        Model.from_pretrained(write_bundle(tmp_path / "bundle"), providers=[("CUDAExecutionProvider", {name: 1})])


@pytest.mark.parametrize("index", [-1, "x", "", 1.5, True, None])
def test_a_device_id_that_is_none(index: Any, tmp_path: Path) -> None:
    providers = [("CUDAExecutionProvider", {"device_id": index})]
    with pytest.raises(InputError, match=f"device_id must be the index of a GPU, 0 or more, got {index!r}"):
        Model.from_pretrained(write_bundle(tmp_path / "bundle"), providers=providers)


@pytest.mark.parametrize("index", [0, 3, "3"])
def test_a_device_id(index: Any) -> None:
    assert cuda_options({"device_id": index})["device_id"] == index


def test_other_providers_keep_their_options() -> None:
    given = [("CPUExecutionProvider", {"use_arena": 0})]
    assert resolve_providers(None, given) == given
