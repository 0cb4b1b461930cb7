"""What is installed of onnxruntime, and what it can run on here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgepipe.backend.machine import package_versions
from edgepipe.backend.onnxruntime.cuda.cuda_diagnostics import query_driver
from edgepipe.backend.onnxruntime.ort_module import load_ort
from edgepipe.backend.onnxruntime.plugins.plugin_devices import describe_devices
from edgepipe.backend.onnxruntime.plugins.plugin_packages import PLUGINS
from edgepipe.errors import DependencyError

# Packages that bring the module `onnxruntime`; all of them write the same files.
_PACKAGES = (
    "onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-qnn",
    "onnxruntime-rocm", "onnxruntime-migraphx", "onnxruntime-cann", "onnxruntime-silicon",
)  # fmt: skip

_NVIDIA = Path("/proc/driver/nvidia")


def describe_installation() -> dict[str, Any]:
    """The packages of onnxruntime, its version and build, its execution providers, and NVIDIA's driver and GPUs.

    Returns:
        ``packages`` (versions by name), and where it can be imported ``version``, ``build`` and ``providers``, else
        ``error``; ``plugins`` (the devices of each, or why there are none) where some are installed; ``nvidia`` where
        there is a driver.
    """
    found: dict[str, Any] = {
        "packages": package_versions([*_PACKAGES, *(plugin.package for plugin in PLUGINS.values())])
    }
    try:
        ort = load_ort()
    except DependencyError as error:
        return found | {"error": str(error)}
    found |= {"version": ort.__version__, "build": ort.get_build_info(), "providers": ort.get_available_providers()}
    plugins = describe_devices()
    if plugins:
        found["plugins"] = plugins
    driver = query_driver()
    if driver.driver:
        found["nvidia"] = {
            "driver": _read_driver(),
            "cuda": ".".join(map(str, driver.supports)),
            "onnxruntime_cuda": driver.built_for or None,
            "gpus": _read_models() or driver.devices,
            "visible": driver.visible,
            "status": driver.status,
        }
    return found


def _read_driver() -> str | None:
    """The kernel module's own line, e.g. ``NVIDIA UNIX x86_64 Kernel Module  550.54.15 ...``."""
    try:
        line = (_NVIDIA / "version").read_text(errors="replace").partition("\n")[0]
    except OSError:
        return None
    return " ".join(line.removeprefix("NVRM version:").split())


def _read_models() -> list[str]:
    """What GPUs there are, by the driver's files."""
    models = []
    for file in sorted(_NVIDIA.glob("gpus/*/information")):
        fields = (line.partition(":") for line in file.read_text(errors="replace").splitlines())
        models += [value.strip() for name, _, value in fields if name.strip() == "Model"]
    return models
