"""Recording of runs: what is asked of onnxruntime, as far as a processor can tell."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
import pytest

from edgepipe.backend.bucketed_runs import BucketedRuns
from edgepipe.backend.engines import create_session
from edgepipe.backend.onnxruntime.cuda.cuda_graphs import (
    NO_CAPTURE,
    enable_capture,
    has_capture,
    is_capture_refusal,
    make_run_options,
)
from edgepipe.backend.onnxruntime.inference_session import OrtSession
from edgepipe.backend.onnxruntime.io_binding import IoBinding
from edgepipe.backend.serial_executor import SerialExecutor
from edgepipe.backend.session import SessionConfig
from tests.runtime.small_bundle import expected_logits, write_graph

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.mark.parametrize(
    ("providers", "expected"),
    [
        ([CPU], None),
        ([CUDA, CPU], [(CUDA, {"enable_cuda_graph": "1"}), CPU]),
        ([(CUDA, {"device_id": 1})], [(CUDA, {"device_id": 1, "enable_cuda_graph": "1"})]),
        ([(CUDA, {"enable_cuda_graph": 0}), CPU], None),
        ([CPU, CUDA], None),
    ],
)
def test_who_records(providers: list[Any], expected: list[Any] | None) -> None:
    assert enable_capture(providers) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({CPU: {}}, False),
        ({CUDA: {"enable_cuda_graph": "1"}, CPU: {}}, True),
        ({CUDA: {"enable_cuda_graph": "0"}}, False),
        ({CUDA: {}}, False),
    ],
)
def test_whether_a_session_records(options: dict[str, dict[str, str]], expected: bool) -> None:
    assert has_capture(options) is expected


def test_a_run_says_its_number() -> None:
    assert make_run_options(NO_CAPTURE).get_run_config_entry("gpu_graph_id") == "-1"
    assert make_run_options(7).get_run_config_entry("gpu_graph_id") == "7"


def test_a_graph_that_cannot_be_recorded_is_told_from_one_that_cannot_be_loaded() -> None:
    # onnxruntime/core/session/inference_session.cc
    text = "This session cannot use the graph capture feature as requested by the user as all compute graph nodes "
    text += "have not been partitioned to the CUDAExecutionProvider"
    assert is_capture_refusal(RuntimeError(text))
    assert not is_capture_refusal(RuntimeError("Load model from model.onnx failed"))


def test_on_a_processor_nothing_is_recorded(tmp_path: Path) -> None:
    write_graph(tmp_path / "model.onnx")
    session = create_session(tmp_path / "model.onnx", capture=True)
    assert not session.captures
    assert session.providers == [CPU]


def test_runs_of_a_session_that_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor's provider reads no ``gpu_graph_id``; the rest is what runs on a GPU."""
    write_graph(tmp_path / "model.onnx")
    session = OrtSession(tmp_path / "model.onnx", SessionConfig())
    session.captures, session.serial = True, SerialExecutor(own_thread=True)
    session._run_options = make_run_options(NO_CAPTURE)
    runs = BucketedRuns(session, [(1, 8), (2, 8)], fill={}, tolerance=1e-5)
    threads = set()
    bound_run = IoBinding.run

    def watched(binding: IoBinding) -> dict[str, Any]:
        threads.add(get_ident())
        return bound_run(binding)

    monkeypatch.setattr(IoBinding, "run", watched)

    def asked(shape: tuple[int, int]) -> None:
        ids = np.full(shape, 30)
        found = runs({"input_ids": ids, "attention_mask": np.ones_like(ids)})["logits"]
        np.testing.assert_allclose(found, expected_logits("fp32", ids), rtol=1e-5, atol=1e-5)

    shapes = 8 * [(1, 5), (1, 5), (2, 8), (2, 3), (1, 8), (3, 2), (2, 3)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(asked, shapes))
    assert runs.is_used(1, 5)
    assert runs.is_used(2, 3)
    assert len(threads) == 1
    assert get_ident() not in threads
