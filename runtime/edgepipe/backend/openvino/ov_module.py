"""OpenVINO itself: the only file that imports it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

from edgepipe.errors import DependencyError

CPU = "CPU"
INSTALL = "pip install 'edgepipe[openvino]'"

_TELEMETRY, _CONVERTER = "openvino_telemetry", "openvino.tools.ovc"


@cache
def load_openvino() -> Any:
    """The module, ready to use.

    Raises:
        DependencyError: it cannot be imported.
    """
    modules: dict[str, Any] = sys.modules
    known = "openvino" in modules
    try:
        with _hide(_TELEMETRY), _hide(_CONVERTER):
            import openvino
    except ImportError as error:
        raise DependencyError(f"openvino cannot be imported ({error}); {INSTALL}") from error
    if not known:
        openvino.__dict__["__getattr__"] = _find_converter
    return openvino


def _find_converter(name: str) -> Any:
    """What the import left out, for programs that use OpenVINO beside us.

    Raises:
        AttributeError: OpenVINO has no such name.
    """
    if name == "convert_model":
        return getattr(import_module(_CONVERTER), name)
    raise AttributeError(f"module 'openvino' has no attribute {name!r}")


@cache
def load_core() -> Any:
    """The ``openvino.Core`` of this process.

    Raises:
        DependencyError: OpenVINO cannot be imported.
    """
    return load_openvino().Core()


@contextmanager
def _hide(name: str) -> Iterator[None]:
    """While OpenVINO is imported, hide a module that it can do without.

    Unless the user has run ``opt_in_out --opt_out``, every import is reported to its maker by a package for that: what
    runs on a user's device must not speak to anyone unasked. Without it OpenVINO takes a stub in its place. The
    converter of other frameworks' models takes as long to import as all the rest.
    """
    if name in sys.modules:
        yield
        return
    modules: dict[str, Any] = sys.modules
    modules[name] = None  # to the import system: it is not there
    try:
        yield
    finally:
        del modules[name]
