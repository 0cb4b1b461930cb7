"""Which execution providers a device stands for, and the options they take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from edgepipe import Model
from edgepipe.backend.engines import create_session
from edgepipe.backend.onnxruntime.providers import (
    CUDA_OPTIONS,
    check_int8_cache,
    cuda_index,
    cuda_options,
    device_profile,
    gpu_index,
    provider_name,
    resolve_providers,
)
from edgepipe.backend.session import DeviceProfile, SessionConfig
from edgepipe.backend.shape_buckets import ON_DEVICES
from edgepipe.errors import DependencyError, DeviceError, InputError
from tests.runtime.small_bundle import write_bundle

CPU_ONLY = onnxruntime.get_available_providers()


needs_cpu_package = pytest.mark.skipif(
    "CUDAExecutionProvider" in CPU_ONLY, reason="the installed onnxruntime has CUDA: nothing to refuse"
)


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


@pytest.mark.parametrize(
    ("providers", "index"),
    [
        ([], None),
        (["CPUExecutionProvider"], None),
        (["CUDAExecutionProvider"], 0),
        ([("CUDAExecutionProvider", {}), "CPUExecutionProvider"], 0),
        (["CPUExecutionProvider", ("CUDAExecutionProvider", {"device_id": "3"})], 3),
        ([("OtherExecutionProvider", {"device_id": 2})], None),
    ],
)
def test_the_gpu_that_a_list_asks_for(providers: list[Any], index: int | None) -> None:
    assert gpu_index(providers) == index
    assert [provider_name(each) for each in providers] == [
        each if isinstance(each, str) else each[0] for each in providers
    ]


def test_the_name_of_an_entry() -> None:
    assert provider_name("CPUExecutionProvider") == "CPUExecutionProvider"
    assert provider_name(("CUDAExecutionProvider", {"device_id": 1})) == "CUDAExecutionProvider"


def test_what_a_device_runs_well() -> None:
    processor = device_profile(SessionConfig())
    assert processor == device_profile(SessionConfig(device=-1))
    assert replace(processor, variant_orders={}) == DeviceProfile(integer_products=True)
    gpu = device_profile(SessionConfig(device="cuda:1"))
    assert (gpu.name, gpu.is_cpu, gpu.preferred_variants[0], gpu.buckets) == ("CUDA", False, "fp16", ON_DEVICES)
    assert not set(gpu.preferred_variants) & set(gpu.unsupported_variants)
    with pytest.raises(InputError, match="got 'tpu'"):
        device_profile(SessionConfig(device="tpu"))


def test_the_first_provider_tells_the_profile_and_brings_no_buckets() -> None:
    gpu = device_profile(SessionConfig(providers=[("CUDAExecutionProvider", {}), "CPUExecutionProvider"]))
    assert (gpu.name, gpu.buckets) == ("CUDA", ())
    assert device_profile(SessionConfig(providers=["CPUExecutionProvider", "CUDAExecutionProvider"])).is_cpu
    assert device_profile(SessionConfig(providers=[])).is_cpu
    assert not device_profile(SessionConfig(providers=["OtherExecutionProvider"])).is_cpu


def test_no_providers_at_all() -> None:
    with pytest.raises(InputError, match=r"providers is empty; this onnxruntime has .*CPUExecutionProvider"):
        resolve_providers(None, [])


@pytest.mark.parametrize(
    ("provider", "advice"),
    [
        ("XnnpackExecutionProvider", "--use_xnnpack"),
        ("ACLExecutionProvider", "--use_acl"),
        ("ArmNNExecutionProvider", "onnxruntime has dropped it"),
        ("CoreMLExecutionProvider", "wheels for macOS"),
        ("DmlExecutionProvider", "pip install onnxruntime-directml"),
        ("NvTensorRTRTXExecutionProvider", "pip install onnxruntime-ep-nv-tensorrt-rtx"),
    ],
)
def test_a_provider_that_this_build_lacks_says_where_it_is(provider: str, advice: str, folder: Path) -> None:
    if provider in CPU_ONLY:
        pytest.skip(f"this build has {provider}")
    with pytest.raises(DeviceError, match=f"has no '{provider}', only .*; .*{advice}"):
        Model.from_pretrained(folder, providers=[provider])


@pytest.mark.parametrize(("version", "fits"), [("1.24.1", False), ("1.26.0", False), ("1.27.0", True), ("2.0.0", True)])
def test_a_cache_in_8_bits_needs_a_version(version: str, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    if fits:
        check_int8_cache(SessionConfig(), "w8")
        return
    with pytest.raises(
        DependencyError, match=rf"needs onnxruntime 1.27 or newer, and {version} is installed: pip inst"
    ):
        check_int8_cache(SessionConfig(), "w8")


@pytest.mark.parametrize(
    ("session", "device"),
    [
        (SessionConfig(device="cuda"), "cuda"),
        (SessionConfig(providers=["CUDAExecutionProvider"]), "CUDAExecutionProvider"),
    ],
    ids=["device", "provider"],
)
def test_a_cache_in_8_bits_needs_a_processor(session: SessionConfig, device: str) -> None:
    with pytest.raises(DeviceError, match=f"w8 has its cache in 8 bits, for which {device} has no kernels"):
        check_int8_cache(session, "w8")
