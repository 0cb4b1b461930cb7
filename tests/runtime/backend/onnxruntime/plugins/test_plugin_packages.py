"""Packages with execution providers: which are known, and how one is loaded (real ones: tests/packaging)."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from edgepipe.backend.onnxruntime.plugins.plugin_packages import (
    PLUGINS,
    Plugin,
    describe_plugins,
    find_plugin,
    installed_plugins,
    is_registered,
    list_devices,
    register,
    registered_providers,
    with_version,
)
from edgepipe.errors import DependencyError, DeviceError

CPU = "CPUExecutionProvider"


@pytest.fixture
def write_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that modules are imported from; what was registered is forgotten after."""
    monkeypatch.syspath_prepend(tmp_path)
    register.cache_clear()
    return tmp_path


def test_every_plugin_has_a_package_of_its_own() -> None:
    for field in ("package", "module", "provider"):
        values = [getattr(plugin, field) for plugin in PLUGINS.values()]
        assert len(set(values)) == len(values), field
    assert not {"cpu", "cuda", "auto", "openvino", "onnxruntime"} & set(PLUGINS), "names of ours"


def test_a_package_that_is_called_as_they_all_are_needs_no_entry(write_package: Path) -> None:
    assert find_plugin("not-there") is None
    (write_package / "onnxruntime_ep_some_chip.py").write_text("")
    assert find_plugin("some-chip") == Plugin("onnxruntime-ep-some-chip", "onnxruntime_ep_some_chip")


@pytest.mark.parametrize("name", ["", "a.b", "a b", "../x", "cpu:0"])
def test_what_can_be_no_package(name: str) -> None:
    assert find_plugin(name) is None


def test_what_there_is_and_how_to_get_more() -> None:
    here = installed_plugins()
    said = describe_plugins()
    assert f"plug-ins installed: {', '.join(here) or 'none'}" in said
    for name, plugin in PLUGINS.items():
        assert (f"{name} (pip install {plugin.package})" in said) is (name not in here)


def test_onnxruntime_lists_the_processor_as_a_device_of_its_own() -> None:
    assert [each.device.type.name for each in list_devices() if each.ep_name == CPU] == ["CPU"]
    assert CPU in registered_providers()
    assert is_registered(CPU)
    assert not is_registered("NoSuchExecutionProvider")
    assert register(CPU) == CPU, "nothing is loaded for it"


@pytest.mark.skipif("webgpu" in installed_plugins(), reason="onnxruntime-ep-webgpu is installed")
def test_a_package_that_is_not_installed(write_package: Path) -> None:
    with pytest.raises(
        DependencyError, match=r"'webgpu' needs the package onnxruntime-ep-webgpu .*; pip install onnxruntime-ep-webgpu"
    ):
        register("webgpu")


def test_a_library_that_is_none(write_package: Path) -> None:
    library = write_package / "broken.so"
    library.write_bytes(b"no library")
    source = f"def get_library_path(): return {str(library)!r}\ndef get_ep_name(): return 'BrokenExecutionProvider'\n"
    (write_package / "onnxruntime_ep_broken.py").write_text(source)
    with pytest.raises(DeviceError, match=r'cannot load onnxruntime-ep-broken: .*broken\.so.*; .*take device="cpu"'):
        register("broken")
    assert "BrokenExecutionProvider" not in registered_providers()


def test_a_provider_that_a_program_registered_itself_is_not_registered_again(write_package: Path) -> None:
    # The module would fail where its library is asked for.
    source = f"def get_library_path(): raise AssertionError\ndef get_ep_name(): return {CPU!r}\n"
    (write_package / "onnxruntime_ep_known.py").write_text(source)
    assert register("known") == CPU


def test_a_package_with_its_version() -> None:
    assert with_version(Plugin("pytest", "pytest")) == f"pytest {pytest.__version__}"
    assert with_version(Plugin("no-such-package", "x")) == "no-such-package"
    assert "onnxruntime" in sys.modules


def test_extras_bring_the_package_of_the_device_that_they_are_called() -> None:
    project = tomllib.loads((Path(__file__).parents[5] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    found = {
        name: [plugin.package in each for each in extras[name]] for name, plugin in PLUGINS.items() if name in extras
    }
    assert found == {name: [False, True] for name in ("openvino-ep", "qnn", "webgpu")}
    assert {extras[name][0] for name in found} == {"edgepipe[cpu]"}
