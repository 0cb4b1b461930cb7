"""What is installed of OpenVINO."""

from __future__ import annotations

from typing import Any

from edgepipe.backend.machine import package_versions
from edgepipe.backend.openvino.ov_module import CPU, load_core
from edgepipe.errors import DependencyError, first_line


def describe_installation() -> dict[str, Any]:
    """The packages, and the precisions that the processor computes in.

    Returns:
        Nothing where it is not installed: it is not needed. Else ``packages`` (versions by name), and ``precisions``,
        or ``error`` where it cannot be used.
    """
    packages = package_versions(("openvino", "openvino-telemetry"))
    if "openvino" not in packages:
        return {}
    found: dict[str, Any] = {"packages": packages}
    try:
        precisions = load_core().get_property(CPU, "OPTIMIZATION_CAPABILITIES")
    except (DependencyError, RuntimeError) as error:
        return found | {"error": first_line(error)}
    return found | {"precisions": [name.lower() for name in precisions]}
