"""The machine and the packages that figures were measured with, in words."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgepipe.threads import available_threads

_CPUINFO = Path("/proc/cpuinfo")


def machine_name(threads: int | None = None) -> str:
    """Processor, threads and system, e.g. ``AMD EPYC 7763, 2 threads, Linux x86_64``.

    Args:
        threads: How many were used; by default what the process may use.
    """
    count = available_threads() if threads is None else threads
    processor = _cpuinfo("model name") or platform.processor() or platform.machine()
    return f"{processor}, {count} thread{'s' if count != 1 else ''}, {platform.system()} {platform.machine()}"


def runtime_versions() -> dict[str, str]:
    """Versions of Python, edgepipe and what it runs on; a package that is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in ("edgepipe", "onnxruntime", "onnxruntime-gpu", "tokenizers", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def cpu_flags() -> frozenset[str]:
    """The instruction set extensions that Linux reports for the first processor; empty on other systems."""
    return frozenset((_cpuinfo("flags") or _cpuinfo("Features") or "").split())


def _cpuinfo(key: str) -> str | None:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in fields if name.strip() == key), None)
