"""Execution providers that come as packages of their own: how they are called, found and loaded.

onnxruntime loads a plug-in's library when that is registered, and lists its devices from then on (``get_ep_devices``;
onnxruntime's documentation, "Using a Plugin Execution Provider Library"). Nothing is imported or registered before a
device asks for it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from edgepipe.backend.machine import package_versions
from edgepipe.backend.onnxruntime.ort_module import load_ort, ort_errors
from edgepipe.errors import DependencyError, DeviceError, first_line


@dataclass(frozen=True, slots=True)
class Plugin:
    """A package with an execution provider.

    Attributes:
        package: What pip installs.
        module: What Python imports.
        provider: The provider's name in onnxruntime; None where only the module tells.
    """

    package: str
    module: str
    provider: str | None = None


# By the name of their device. A package called onnxruntime-ep-NAME is found without an entry.
PLUGINS: Mapping[str, Plugin] = {
    "ggml": Plugin("onnxruntime-ggml", "onnxruntime_ggml", "ggml"),
    # The name `openvino` is that of the engine.
    "openvino-ep": Plugin("onnxruntime-ep-openvino", "onnxruntime_ep_openvino", "OpenVINOExecutionProvider"),
    "qnn": Plugin("onnxruntime-qnn", "onnxruntime_qnn", "QNNExecutionProvider"),
    "tensorrt-rtx": Plugin(
        "onnxruntime-ep-nv-tensorrt-rtx", "onnxruntime_ep_nv_tensorrt_rtx", "NvTensorRTRTXExecutionProvider"
    ),
    "webgpu": Plugin("onnxruntime-ep-webgpu", "onnxruntime_ep_webgpu", "WebGpuExecutionProvider"),
}


def find_plugin(name: str) -> Plugin | None:
    """The plug-in of a name: an entry of `PLUGINS`, or an installed package called as onnxruntime's guide has it."""
    if name in PLUGINS:
        return PLUGINS[name]
    module = f"onnxruntime_ep_{name.replace('-', '_')}"
    if not module.isidentifier() or find_spec(module) is None:
        return None
    return Plugin(f"onnxruntime-ep-{name}", module)


def installed_plugins() -> tuple[str, ...]:
    """The names of those of `PLUGINS` whose package is installed."""
    return tuple(name for name, plugin in PLUGINS.items() if find_spec(plugin.module) is not None)


def describe_plugins() -> str:
    """For a message: which plug-ins are installed, and how to get others."""
    here = installed_plugins()
    others = [f"{name} (pip install {plugin.package})" for name, plugin in PLUGINS.items() if name not in here]
    return f"plug-ins installed: {', '.join(here) or 'none'}; others: {', '.join(others) or 'none'}"


def list_devices() -> list[Any]:
    """Every ``OrtEpDevice`` that onnxruntime has, those of its own providers among them."""
    return list(load_ort().get_ep_devices())


def registered_providers() -> set[str]:
    """The names of the providers that onnxruntime lists devices of."""
    return {each.ep_name for each in list_devices()}


def is_registered(name: str) -> bool:
    """Whether a name is that of a provider that onnxruntime lists devices of."""
    # It is loaded for a name that is a provider's. A library under another name is registered by the program itself,
    # which cannot be while onnxruntime is not loaded.
    return (name.endswith("ExecutionProvider") or "onnxruntime" in sys.modules) and name in registered_providers()


@cache
def register(name: str) -> str:
    """Have onnxruntime load a plug-in's library.

    Args:
        name: The plug-in's; or that of a provider, which is taken as it is.

    Returns:
        The provider's name.

    Raises:
        DependencyError: the package is not installed.
        DeviceError: its library cannot be loaded.
    """
    plugin = find_plugin(name)
    if plugin is None:
        return name
    try:
        module: Any = import_module(plugin.module)
    except ImportError as error:
        raise DependencyError(
            f"device {name!r} needs the package {plugin.package} ({error}); pip install {plugin.package}"
        ) from error
    provider = plugin.provider or str(module.get_ep_name())
    if is_registered(provider):  # the program did so itself
        return provider
    ort = load_ort()
    find_library = getattr(module, "get_library_path", None) or module.library_path
    try:
        ort.register_execution_provider_library(provider, str(find_library()))
    except ort_errors() as error:
        raise DeviceError(
            f"onnxruntime {ort.__version__} cannot load {with_version(plugin)}: {first_line(error)}; another version "
            'of one of the two may fit, or take device="cpu"'
        ) from error
    return provider


def with_version(plugin: Plugin) -> str:
    """A plug-in's package and its version."""
    return f"{plugin.package} {package_versions([plugin.package]).get(plugin.package, '')}".rstrip()
