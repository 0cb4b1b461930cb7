"""The table of engines, and which of them runs a graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from edgepipe.arguments import did_you_mean
from edgepipe.backend.external_data import check_external_data
from edgepipe.backend.session import DeviceProfile, Engine, Session, SessionConfig
from edgepipe.errors import InputError
from edgepipe.forks import within_engine

DEFAULT = "onnxruntime"
_OF_DEFAULT = ("cpu", "cuda", "auto")


@cache
def _onnxruntime() -> Engine:
    from edgepipe.backend.onnxruntime.inference_session import OrtSession, check_device
    from edgepipe.backend.onnxruntime.providers import check_int8_cache, device_profile

    folder = "edgepipe.backend.onnxruntime"
    describe = _import_later(f"{folder}.installation", "describe_installation")
    return Engine(
        OrtSession,
        check_device,
        device_profile,
        describe,
        _import_later(f"{folder}.operator_profile", "profile_operators"),
        _describe_ort,
        _import_later(f"{folder}.graphs.packed_weights", "count_memory"),
        check_int8_cache,
    )


def _describe_ort(config: SessionConfig) -> str:
    from edgepipe.backend.onnxruntime.ort_module import load_ort
    from edgepipe.backend.onnxruntime.providers import describe_plugin_versions

    return f"{DEFAULT} {load_ort().__version__}{describe_plugin_versions(config)}"


@cache
def _openvino() -> Engine:
    from edgepipe.backend.openvino.ov_module import load_openvino
    from edgepipe.backend.openvino.ov_session import OvSession, check_device, device_profile

    folder = "edgepipe.backend.openvino"
    describe = _import_later(f"{folder}.ov_installation", "describe_installation")
    return Engine(
        OvSession,
        check_device,
        device_profile,
        describe,
        _import_later(f"{folder}.ov_operator_profile", "profile_operators"),
        # Without the build behind it: 2026.4.1-20426-0ec67e1f6de-releases/2026/4.
        lambda _: f"openvino {load_openvino().__version__.partition('-')[0]}",
    )


def _import_later(module: str, name: str) -> Callable[..., Any]:
    """A function that is imported when it is called: hardly any start needs it."""
    return lambda *arguments: getattr(import_module(module), name)(*arguments)


# An engine is chosen by the device's name: `device="NAME"` or `device="NAME:..."`. Its modules are imported then.
# What is none of these may be a plug-in of onnxruntime's.
ENGINES: dict[str, Callable[[], Engine]] = {DEFAULT: _onnxruntime, "openvino": _openvino}


def engine_for(config: SessionConfig) -> Engine:
    """The engine that has the device; onnxruntime where no other one is named.

    Raises:
        InputError: no engine has such a device; the message names the nearest.
    """
    return ENGINES[engine_name(config)]()


def engine_name(config: SessionConfig) -> str:
    """The name of the engine that has the device, a key of :data:`ENGINES`; it is not loaded.

    Raises:
        InputError: no engine has such a device; the message names the nearest.
    """
    if not isinstance(config.device, str):
        return DEFAULT
    name = config.device.partition(":")[0]
    others = [other for other in ENGINES if other != DEFAULT]
    if name not in (*_OF_DEFAULT, *others):
        from edgepipe.backend.onnxruntime.plugins.plugin_devices import parse_device
        from edgepipe.backend.onnxruntime.plugins.plugin_packages import PLUGINS, describe_plugins

        if name == DEFAULT or parse_device(config.device) is None:
            names = [*_OF_DEFAULT, *others, *PLUGINS]
            hint = did_you_mean(name, names) or f"; other engines: {', '.join(others)}; {describe_plugins()}"
            raise InputError(f'device must be "cpu", "cuda", "cuda:1" or an index, got {config.device!r}{hint}')
    return name if name in others else DEFAULT


def device_names() -> tuple[str, ...]:
    """The devices that are known by name: of the engines, and of onnxruntime's plug-ins that are installed."""
    from edgepipe.backend.onnxruntime.plugins.plugin_packages import installed_plugins

    return (*_OF_DEFAULT, *(other for other in ENGINES if other != DEFAULT), *installed_plugins())


def create_session(graph: Path, config: SessionConfig | None = None, *, capture: bool = False) -> Session:
    """Load a graph.

    Args:
        graph: Its file.
        config: Where and how it runs.
        capture: Whether to record runs, where the device and the graph allow it.

    Raises:
        BundleError: the graph cannot be loaded, or names a file outside of its folder.
        DependencyError: the engine is not installed.
        DeviceError: the device or a provider cannot be used here.
        InputError: the configuration names no device.
    """
    config = config or SessionConfig()
    check_external_data(graph)
    with within_engine():
        return engine_for(config).create_session(graph, config, capture=capture)


def device_profile(config: SessionConfig | None) -> DeviceProfile:
    """What the device of a configuration runs well; nothing is loaded.

    Raises:
        InputError: the configuration names no device.
    """
    config = config or SessionConfig()
    return engine_for(config).device_profile(config)


def write_product(graph: Path, dtypes: tuple[str, str, str]) -> None:
    """Write a graph of one product of two matrices, which every engine reads: ``left`` times ``right``.

    Args:
        graph: Its file.
        dtypes: Of ``left``, of ``right`` and of the product, by their numpy names.
    """
    from edgepipe.backend.onnxruntime.graphs.onnx_writer import Node, write_model

    left, right, product = dtypes
    operator = "MatMulInteger" if product == "int32" else "MatMul"
    nodes = [Node(operator, ["left", "right"], ["product"])]
    graph.write_bytes(write_model(nodes, {"left": (left, 2), "right": (right, 2)}, {"product": (product, 2)}))
