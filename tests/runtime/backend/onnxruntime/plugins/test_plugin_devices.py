"""Devices of plug-ins by their names, tried with the one that onnxruntime itself lists: its processor."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgepipe import Model, check, pipeline
from edgepipe.backend.engines import DEFAULT, ENGINES, create_session, device_names, engine_for
from edgepipe.backend.onnxruntime.plugins import node_placement
from edgepipe.backend.onnxruntime.plugins.plugin_devices import (
    DeviceRequest,
    choose_devices,
    describe_devices,
    describe_devices_of,
    find_device,
    parse_device,
    profile_plugin,
    request_of,
    resolve_device,
)
from edgepipe.backend.onnxruntime.plugins.plugin_packages import PLUGINS, installed_plugins
from edgepipe.backend.onnxruntime.providers import device_profile
from edgepipe.backend.session import DeviceProfile, SessionConfig
from edgepipe.errors import DependencyError, DeviceError, InputError
from edgepipe.factory import embedded_bundle
from tests.runtime.small_bundle import expected_logits, write_bundle

CPU = "CPUExecutionProvider"
VERSION = onnxruntime.__version__
alone = pytest.mark.skipif(bool(installed_plugins()), reason="a plug-in is installed, and may be chosen")
without_webgpu = pytest.mark.skipif("webgpu" in installed_plugins(), reason="onnxruntime-ep-webgpu is installed")


@pytest.mark.parametrize(
    ("device", "request_"),
    [
        ("webgpu", DeviceRequest("webgpu")),
        ("webgpu:gpu", DeviceRequest("webgpu", "GPU")),
        ("webgpu:GPU:1", DeviceRequest("webgpu", "GPU", 1)),
        ("openvino-ep:NPU,cpu", DeviceRequest("openvino-ep", "NPU", 0, True)),
        ("webgpu,cpu", DeviceRequest("webgpu", None, 0, True)),
        ("auto", DeviceRequest("auto", None, 0, True)),
        ("auto:GPU", DeviceRequest("auto", "GPU", 0, True)),
        (CPU, DeviceRequest(CPU)),
        (None, None),
        (0, None),
        ("cpu", None),
        ("tpu", None),
        ("", None),
    ],
)
def test_what_a_name_asks_for(device: Any, request_: DeviceRequest | None) -> None:
    assert parse_device(device) == request_


@pytest.mark.parametrize(
    "device", ["webgpu:TPU", "webgpu:GPU:x", "webgpu:GPU:-1", "webgpu:GPU:0:1", "webgpu,cuda", "webgpu,", "auto:x"]
)
def test_what_follows_the_name_may_be_wrong(device: str, folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"kinds CPU, GPU, NPU, and ',cpu' behind it .*, got " + re.escape(repr(device))
    ):
        pipeline(model=folder, device=device)


@pytest.mark.parametrize("asked", ["webgpu", "webgpu:GPU", "webgpu:GPU:1"])
def test_a_request_is_written_as_it_was_asked(asked: str) -> None:
    assert str(parse_device(asked)) == asked


@pytest.mark.parametrize(("device", "near"), [("webgpuu", "webgpu"), ("openvino-epp", "openvino-ep"), ("aut", "auto")])
def test_a_name_that_is_misspelt(device: str, near: str, folder: Path) -> None:
    with pytest.raises(InputError, match=f"got '{device}'; did you mean '{near}'"):
        pipeline(model=folder, device=device)


def test_a_name_that_nobody_has(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"got 'xyz'; other engines: openvino; plug-ins installed: .*; others: .*"
    ) as found:
        pipeline(model=folder, device="xyz")
    for name, plugin in PLUGINS.items():
        assert name in str(found.value)
        assert name in installed_plugins() or f"pip install {plugin.package}" in str(found.value)


@without_webgpu
def test_a_package_that_is_not_installed(folder: Path) -> None:
    for device in ("webgpu", "webgpu:GPU", "webgpu,cpu"):
        with pytest.raises(DependencyError, match="pip install onnxruntime-ep-webgpu"):
            pipeline(model=folder, device=device)


def test_names_are_completed() -> None:
    assert set(device_names()) >= {"cpu", "cuda", "auto", "openvino", *installed_plugins()}


def test_a_device_is_found_by_kind_and_index() -> None:
    device = find_device(DeviceRequest(CPU))
    assert (device.ep_name, device.device.type.name) == (CPU, "CPU")
    assert find_device(DeviceRequest(CPU, "CPU")).ep_name == CPU
    for request in (DeviceRequest(CPU, "GPU"), DeviceRequest(CPU, "CPU", 7)):
        with pytest.raises(DeviceError, match=f"there is no device '{request}' here, only {CPU}:CPU"):
            find_device(request)


@pytest.mark.parametrize("device", [CPU, f"{CPU}:CPU", f"{CPU},cpu"])
def test_a_session_runs_on_a_listed_device(device: str, folder: Path) -> None:
    model = Model.from_pretrained(folder, device=device)
    ids = [[5, 6, 7]]
    mask = np.ones((1, 3), dtype=np.int64)
    logits = model(input_ids=np.array(ids), attention_mask=mask)["logits"]
    np.testing.assert_allclose(logits, expected_logits("fp32", ids), rtol=1e-5)
    session = model.session
    assert session.providers[0] == CPU
    assert sum(session.placement[CPU].values()) >= 3, "where its nodes run is known"


@alone
def test_auto_says_once_what_onnxruntime_chose(folder: Path) -> None:
    node_placement._warn_of_choice.cache_clear()
    with pytest.warns(UserWarning, match=rf'device="auto": of what is here, onnxruntime chose: {CPU} \d+ nodes'):
        classify = pipeline(model=folder, device="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = pipeline(model=folder, device="auto")
    assert classify("a b") == again("a b") == pipeline(model=folder)("a b")
    assert str(classify.device) == "cpu"
    with pytest.raises(InputError, match="workers=2 is for processors, and auto is none"):
        pipeline(model=folder, device="auto", workers=2)


@alone
@pytest.mark.parametrize("device", ["auto:CPU", "auto:GPU", "auto:NPU"])
def test_a_policy_is_onnxruntimes(device: str, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert Model.from_pretrained(folder, device=device).session.providers[0] == CPU


@alone
def test_a_bundle_is_checked_on_such_a_device() -> None:
    found = check(embedded_bundle(), device=CPU)
    assert found.passed, found.table()
    assert f"onnxruntime {VERSION}, {CPU} {VERSION} on " in found.engine
    assert found.variants[0].placement[CPU]
    assert re.search(rf"\w+: {CPU} \d+ nodes", found.table())


def test_what_plugins_run_well() -> None:
    profile = profile_plugin(SessionConfig(device="webgpu:GPU"))
    assert profile is not None
    assert (profile.name, profile.is_cpu, profile.preferred_variants[0], profile.gate) == (
        "webgpu",
        False,
        "fp32",
        "webgpu",
    )
    assert profile_plugin(SessionConfig(device=CPU)) is None
    assert device_profile(SessionConfig(device=CPU)) == DeviceProfile()


@alone
def test_auto_without_plugins_is_the_processor() -> None:
    assert device_profile(SessionConfig(device="auto")) == DeviceProfile()
    assert resolve_device("auto") == []


def test_the_engine_is_onnxruntime() -> None:
    for device in ("webgpu", "auto", "auto:NPU", CPU):
        assert engine_for(SessionConfig(device=device)) is ENGINES[DEFAULT]()


def test_providers_are_asked_for_by_their_names() -> None:
    assert request_of(CPU) is request_of("CUDAExecutionProvider") is request_of("NoSuchProvider") is None
    for name, plugin in PLUGINS.items():
        found = request_of(str(plugin.provider))
        assert found == (DeviceRequest(name) if name in installed_plugins() else None)


def test_lists_without_a_plugin_are_left_to_onnxruntime() -> None:
    options = onnxruntime.SessionOptions()
    assert not choose_devices(options, SessionConfig(providers=[CPU]))
    assert not choose_devices(options, SessionConfig())
    assert not options.has_providers()
    assert choose_devices(options, SessionConfig(device=CPU))
    assert options.has_providers()


def test_the_version_tells_what_decides_how_results_are_rounded() -> None:
    assert describe_devices_of(SessionConfig()) == describe_devices_of(SessionConfig(providers=[CPU])) == ""
    assert re.fullmatch(rf", {CPU} {VERSION} on .* CPU 0x\w+", describe_devices_of(SessionConfig(device=CPU)))
    engine = ENGINES[DEFAULT]()
    assert engine.version(SessionConfig()) == f"onnxruntime {VERSION}"
    assert engine.version(SessionConfig(device=CPU)).startswith(f"onnxruntime {VERSION}, {CPU}")


def test_every_installed_plugin_is_described() -> None:
    assert set(describe_devices()) == set(installed_plugins())


def test_a_device_beside_a_list_of_providers_stays_an_error(graph: Path) -> None:
    with pytest.raises(InputError, match="device and providers exclude each other"):
        create_session(graph, SessionConfig(device="auto", providers=[CPU]))


def test_a_bundle_for_each_test(tmp_path: Path) -> None:
    """Variants that have no meaning for plug-ins stay an error of the bundle."""
    folder = write_bundle(tmp_path / "bundle", ("int8",))
    assert Model.from_pretrained(folder, device=CPU).dtype == "int8"
