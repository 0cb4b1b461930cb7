"""What onnxruntime says when it fails, told again with the cause."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgepipe.backend.onnxruntime.cuda.cuda_diagnostics import query_driver
from edgepipe.backend.onnxruntime.diagnostics import (
    check_gpu,
    check_started,
    explain_run_failure,
    explain_start_failure,
)
from edgepipe.backend.onnxruntime.ort_module import load_ort
from edgepipe.backend.session import Provider
from edgepipe.errors import BundleError, DeviceError, EdgepipeError, InputError, KernelError, OutOfMemoryError
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


def refused(graph: Path, said: str, providers: Sequence[Provider] = ("CPUExecutionProvider",)) -> EdgepipeError:
    """What a start becomes in which onnxruntime says this."""
    with pytest.raises(EdgepipeError) as caught, explain_start_failure(graph, providers):
        raise RuntimeError(said)
    assert str(caught.value.__cause__) == said
    return caught.value


def test_a_start_that_fails_is_told_by_its_cause(tmp_path: Path) -> None:
    graph, version = tmp_path / "model.onnx", load_ort().__version__
    graph.write_bytes(b"12345")
    for said, kind, told in [
        (
            'Failed to parse provider option "gpu_mem_limit": x is none\nand a stack',
            InputError,
            f"onnxruntime {version} cannot use the provider option 'gpu_mem_limit': "
            'Failed to parse provider option "gpu_mem_limit": x is none',
        ),
        (
            'Unknown provider option: "prefer_nhwc"',
            InputError,
            f"onnxruntime {version} cannot use the provider option 'prefer_nhwc': "
            'Unknown provider option: "prefer_nhwc"',
        ),
        (
            "NOT_IMPLEMENTED : Could not find an implementation for MatMulNBits(1) node with name 'a'",
            KernelError,
            f"{graph} needs MatMulNBits, for which onnxruntime {version} has no kernel on CPUExecutionProvider",
        ),
        (
            "std::bad_alloc",
            OutOfMemoryError,
            f"{graph} cannot be loaded: memory ran out; take a smaller variant (dtype=), another device, or make room "
            "on this one",
        ),
        (
            "CUDA failure 999: unknown error ; GPU=0",
            DeviceError,
            "onnxruntime could not start CUDAExecutionProvider for GPU None: CUDA failure 999, unknown error",
        ),
        ("something new\nand a stack", BundleError, f"onnxruntime {version} cannot load {graph}: something new"),
        (
            "Protobuf parsing failed.",
            BundleError,
            f"onnxruntime {version} cannot load {graph}: {graph} is no whole ONNX graph, its 5 bytes are truncated or "
            "altered; export or download the bundle again",
        ),
    ]:
        error = refused(graph, said)
        assert (type(error), str(error)) == (kind, told)


def test_weights_that_end_too_early_are_found_by_their_size(tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    for name, size in (("model.onnx", 3), ("model.onnx_data", 7), ("model.onnx_data_1", 9), ("model.onnx.old", 8)):
        (tmp_path / name).write_bytes(bytes(size))
    said = "offset: 4 and size to read: 12 given file_length: {} are out of bounds"
    assert f"{tmp_path / 'model.onnx_data_1'} has 9 bytes, the graph needs more" in str(refused(graph, said.format(9)))
    # A file that only begins with the graph's name is none of its weights.
    assert f"the file of {graph}'s weights has 8 bytes" in str(refused(graph, said.format(8)))


def test_weights_that_are_named_and_missing(tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"")
    missing = tmp_path / "elsewhere.bin"
    told = str(refused(graph, f'External data path does not exist: "{missing}"'))
    assert f"{missing} is missing; export or download the bundle again" in told


def test_what_is_not_onnxruntimes_passes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), explain_start_failure(tmp_path, ["CPUExecutionProvider"]):
        raise KeyboardInterrupt
    with pytest.raises(OSError, match="disk"), explain_start_failure(tmp_path, ["CPUExecutionProvider"]):
        raise OSError("disk")


def test_a_provider_that_was_left_out_is_an_error() -> None:
    check_started([], ["CPUExecutionProvider"])
    check_started([("CPUExecutionProvider", {"use_arena": 0})], ["CPUExecutionProvider"])
    with pytest.raises(DeviceError) as caught:
        check_started(["CPUExecutionProvider", "OtherExecutionProvider"], ["CPUExecutionProvider"])
    assert str(caught.value).startswith(
        "onnxruntime could not start OtherExecutionProvider, only CPUExecutionProvider: a library it needs is missing"
    )


def test_a_processor_that_session_options_forbid(tmp_path: Path) -> None:
    ort = load_ort()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    graph = write_bundle(tmp_path / "bundle") / "onnx" / "model.onnx"
    with (
        pytest.raises(KernelError, match=r"session\.disable_cpu_ep_fallback of your session_options forbids"),
        explain_start_failure(graph, ["OtherExecutionProvider"]),
    ):
        ort.InferenceSession(graph, options)


@pytest.mark.parametrize(
    ("providers", "said", "told"),
    [
        (
            ["QNNExecutionProvider"],
            "[ONNXRuntimeError] : 1 : FAIL : /src/a.cc:393 PluginExecutionProviderFactory::CreateProvider() "
            "[ONNXRuntimeError] : 1 : FAIL : Could not determine default backend path for device",
            "could not start QNNExecutionProvider: Could not determine default backend path for device; its options",
        ),
        ([], "[ONNXRuntimeError] : 1 : FAIL : no backend", r'on what it chose for device="auto": .*no backend; name a'),
    ],
    ids=["by_name", "auto"],
)
def test_a_plugin_that_cannot_start(providers: list[Provider], said: str, told: str, tmp_path: Path) -> None:
    graph = write_bundle(tmp_path / "bundle") / "onnx" / "model.onnx"
    with pytest.raises(DeviceError, match=told), explain_start_failure(graph, providers):
        raise RuntimeError(said)
