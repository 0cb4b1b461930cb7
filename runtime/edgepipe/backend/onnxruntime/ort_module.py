"""onnxruntime itself: the only file that imports it."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from edgepipe.errors import DependencyError

# Its providers for the processor, and for NVIDIA's GPUs.
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

_INSTALL = "pip install 'edgepipe[cpu]' (or 'edgepipe[gpu]' for NVIDIA GPUs)"


@cache
def load_ort() -> Any:
    """The module, ready to use.

    Raises:
        DependencyError: it cannot be imported, or both of its packages are installed: they write the same files, and
            which of them runs is chance.
    """
    # onnxruntime's own wheels report use to their maker unless told not to before they are loaded (its Privacy.md):
    # what runs on a user's device must not speak to anyone unasked. A value the user has set is kept.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(f"onnxruntime cannot be imported ({error}); {_INSTALL}") from error
    folder = Path(onnxruntime.__file__).parent.parent
    packages = sorted({path.name.split("-")[0] for path in folder.glob("onnxruntime*.dist-info")})
    clashing = [package for package in packages if package in ("onnxruntime", "onnxruntime_gpu")]
    if len(clashing) > 1:
        raise DependencyError(
            "both onnxruntime and onnxruntime-gpu are installed, and each overwrites the other's files; "
            f"pip uninstall -y onnxruntime onnxruntime-gpu, then {_INSTALL}"
        )
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime


@cache
def ort_errors() -> tuple[type[Exception], ...]:
    """All that onnxruntime raises."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = [item for item in vars(state).values() if isinstance(item, type) and issubclass(item, Exception)]
    return (*found, ValueError, RuntimeError)
