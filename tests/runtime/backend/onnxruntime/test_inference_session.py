"""Devices, providers, threads, memory; and the packages that onnxruntime comes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepipe import Model
from edgepipe.backend.engines import create_session
from edgepipe.backend.onnxruntime.providers import cuda_index
from edgepipe.backend.session import Session, SessionConfig
from edgepipe.backend.threads import available_threads
from edgepipe.errors import DeviceError, InputError
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import expected_logits, write_bundle, write_graph

IDS = np.array([[2, 30, 31, 3]])
FEEDS = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}
CPU_ONLY = onnxruntime.get_available_providers()
needs_cpu_package = pytest.mark.skipif(
    "CUDAExecutionProvider" in CPU_ONLY, reason="the installed onnxruntime has CUDA: nothing to refuse"
)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("session") / "model.onnx"
    write_graph(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.mark.parametrize(
    ("device", "index"),
    [(None, None), ("cpu", None), (-1, None), ("cuda", 0), ("cuda:0", 0), ("cuda:3", 3), (0, 0), (2, 2)],
)
def test_devices(device: Any, index: int | None) -> None:
    assert cuda_index(device) == index


@pytest.mark.parametrize(
    "device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "", -2, True, False, 1.0, ["cpu"], b"cpu"]
)
def test_what_is_no_device(device: Any, folder: Path) -> None:
    with pytest.raises(InputError, match=r'"cpu", "cuda", "cuda:1" or an index, got '):
        Model.from_pretrained(folder, device=device)


@needs_cpu_package
@pytest.mark.parametrize("device", ["cuda", "cuda:1", 0])
def test_a_device_that_is_not_there_is_an_error(device: Any, folder: Path) -> None:
    with pytest.raises(DeviceError, match=r"has no CUDA; .*edgepipe\[gpu\]"):
        Model.from_pretrained(folder, device=device)


@needs_cpu_package
@pytest.mark.parametrize("provider", ["CUDAExecutionProvider", "NoSuchProvider", ("CUDAExecutionProvider", {})])
def test_a_provider_that_is_not_there_is_an_error(provider: Any, folder: Path) -> None:
    with pytest.raises(DeviceError, match=r"has no '\w+', only .*CPUExecutionProvider"):
        Model.from_pretrained(folder, providers=[provider, "CPUExecutionProvider"])


@pytest.mark.parametrize("provider", ["CPUExecutionProvider", ("CPUExecutionProvider", {})])
def test_providers_are_used_as_given(provider: Any, graph: Path) -> None:
    session = create_session(graph, SessionConfig(providers=[provider]))
    assert session.providers == ["CPUExecutionProvider"]


@pytest.mark.parametrize("providers", [[], "CPUExecutionProvider", 3, [3], [()], [("CPUExecutionProvider",)], [None]])
def test_what_is_no_list_of_providers(providers: Any, folder: Path) -> None:
    with pytest.raises(InputError, match="providers"):
        Model.from_pretrained(folder, providers=providers)


def test_device_and_providers_exclude_each_other(folder: Path) -> None:
    with pytest.raises(InputError, match="exclude each other"):
        Model.from_pretrained(folder, device="cpu", providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_what_is_no_number_of_threads(threads: Any, folder: Path) -> None:
    with pytest.raises(InputError, match=rf"num_threads must be a whole number.*got {threads!r}"):
        Model.from_pretrained(folder, num_threads=threads)


def threads_of(session: Session) -> int:
    count: int = session._session.get_session_options().intra_op_num_threads
    return count


def test_threads(graph: Path) -> None:
    assert threads_of(create_session(graph)) == available_threads()
    assert threads_of(create_session(graph, SessionConfig(num_threads=3))) == 3
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 5
    assert threads_of(create_session(graph, SessionConfig(session_options=options))) == 5
    assert threads_of(create_session(graph, SessionConfig(session_options=options, num_threads=2))) == 2


@pytest.mark.parametrize("options", [{}, "options", 3])
def test_what_are_no_session_options(options: Any, folder: Path) -> None:
    with pytest.raises(InputError, match=rf"onnxruntime\.SessionOptions, got {type(options).__name__}"):
        Model.from_pretrained(folder, session_options=options)


def test_low_memory_gives_the_same(graph: Path) -> None:
    low = create_session(graph, SessionConfig(low_memory=True))
    assert low._session.get_session_options().get_session_config_entry("session.disable_prepacking") == "1"
    np.testing.assert_array_equal(low.run(FEEDS)["logits"], create_session(graph).run(FEEDS)["logits"])


def test_a_session(graph: Path) -> None:
    session = create_session(graph)
    assert session.inputs == {"input_ids": "int64", "attention_mask": "int64"}
    assert session.outputs == ("logits",)
    np.testing.assert_allclose(session.run(FEEDS)["logits"], expected_logits("fp32", IDS), rtol=1e-5)


# What is installed: only another process can tell, since this one has imported onnxruntime.


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


def test_onnxruntime_says_nothing_about_a_refused_graph(folder: Path, tmp_path: Path) -> None:
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


def test_additions_and_norms_are_not_made_one_on_a_cpu(tmp_path: Path) -> None:
    # onnxruntime's operator for both takes longer than the two.
    ones = [numpy_helper.from_array(np.ones(8, np.float32), name) for name in ("scale", "bias")]
    nodes = [
        helper.make_node("Add", ["one", "other"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "scale", "bias"], ["normed"], axis=-1),
    ]
    shape = ["batch", "length", 8]
    one, other, normed = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("one", "other", "normed")
    )
    graph = helper.make_graph(nodes, "norm", [one, other], [normed], ones)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "norm.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    create_session(tmp_path / "norm.onnx", SessionConfig(session_options=options))
    assert [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node] == ["Add", "LayerNormalization"]
    onnxruntime.InferenceSession(tmp_path / "norm.onnx", options, providers=["CPUExecutionProvider"])
    assert [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node] == ["SkipLayerNormalization"]
