"""Which execution providers a device stands for, and the options they take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from edgepipe import Model
from edgepipe.backend.engines import create_session
from edgepipe.backend.onnxruntime.providers import CUDA_OPTIONS, cuda_index, cuda_options, resolve_providers
from edgepipe.backend.session import SessionConfig
from edgepipe.errors import DeviceError, InputError
from tests.runtime.small_bundle import write_bundle, write_graph

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
