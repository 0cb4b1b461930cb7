"""OpenVINO itself: the only file that imports it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from edgepipe.errors import DependencyError

CPU = "CPU"
INSTALL = "pip install 'edgepipe[openvino]'"

_TELEMETRY = "openvino_telemetry"


@cache
def load_openvino() -> Any:
    """The module, ready to use.

    Raises:
        DependencyError: it cannot be imported.
    """
    try:
        with _silence_telemetry():
            import openvino
    except ImportError as error:
        raise DependencyError(f"openvino cannot be imported ({error}); {INSTALL}") from error
    return openvino


@cache
def load_core() -> Any:
    """The ``openvino.Core`` of this process.

    Raises:
        DependencyError: OpenVINO cannot be imported.
    """
    return load_openvino().Core()


@contextmanager
def _silence_telemetry() -> Iterator[None]:
    """While OpenVINO is imported, hide the package by which it reports that to its maker.

    It does so at every import, unless the user has run ``opt_in_out --opt_out``: what runs on a user's device must not
    speak to anyone unasked. Without the package OpenVINO takes a stub in its place.
    """
    if _TELEMETRY in sys.modules:
        yield
        return
    modules: dict[str, Any] = sys.modules
    modules[_TELEMETRY] = None  # to the import system: it is not there
    try:
        yield
    finally:
        del modules[_TELEMETRY]
