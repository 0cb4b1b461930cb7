"""Why a GPU cannot be used, from what was recorded without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgepipe.backend.onnxruntime.cuda.cuda_diagnostics import CudaState, find_cause

RECORDED = json.loads((Path(__file__).parents[4] / "data" / "cuda" / "causes.json").read_text(encoding="utf-8"))
STARTS = {row["name"]: row for row in RECORDED["starts"]}

# What each message says, and what it tells to do.
SAID = {
    "no driver": ["there is no NVIDIA driver (libcuda.so.1 ", "install it", "--gpus all"],
    "no GPU": ["shows no GPU: ", "nvidia-smi"],
    "hidden GPUs": ["shows no GPU (CUDA_VISIBLE_DEVICES is '')"],
    "a driver in two versions": ["do not fit each other (cuInit: 803)", "restart"],
    "a driver that does not start": ["does not start (cuInit: 999)", "nvidia-smi"],
    "no such GPU": ["there is no GPU 2, but 2 GPUs, 0 to 1"],
    "an old driver": [
        "too old: it knows CUDA up to 12.4",
        "built with CUDA 13.0",
        "update the driver",
        "1.24.1 to 1.26",
    ],
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


def test_where_nothing_stands_in_the_way_no_cause_is_made_up() -> None:
    assert find_cause(findings("a GPU that fails"), 0) is None
    assert "there is no GPU 1, but only one GPU, 0" in str(find_cause(findings("a GPU that fails"), 1))


def test_a_library_that_the_loader_does_not_name() -> None:
    found = CudaState("1.31.1", "", True, 0, (13, 1), 1, None, "a name that says nothing")
    said = str(find_cause(found, 0))
    assert "onnxruntime-gpu 1.31.1 cannot load its CUDA library (a name that says nothing)" in said
