"""The processor and the packages of a measurement, in words."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgepipe.backend.threads import available_threads

_CPUINFO = Path("/proc/cpuinfo")

# Instructions that add 8-bit products in 32 bits.
VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


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


def saturates() -> bool:
    """Whether sums of 8-bit products overflow here: on x86 without VNNI, which adds pairs of them in 16 bits.

    False too where the processor's instructions are not known (onnxruntime#5849, #14642).
    """
    flags = cpu_flags()
    return platform.machine().lower() in ("x86_64", "amd64") and bool(flags) and not flags & VNNI_FLAGS


def _cpuinfo(key: str) -> str | None:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in fields if name.strip() == key), None)
