"""The processor, the memory and the packages of this machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgepipe.backend.cgroups import cgroup_memory
from edgepipe.backend.threads import available_threads

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_BOARD = Path("/proc/device-tree/model")

# Instructions that add 8-bit products in 32 bits.
VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})

# Instruction set extensions that onnxruntime's kernels are written for, by Linux' names: x86, then ARM.
KERNEL_FLAGS = (
    "sse4_1", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_int8", "amx_bf16",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MemorySize:
    """Memory of this machine in bytes; None for what the system does not tell.

    Attributes:
        total: All of it.
        available: What can be had without swapping.
        limit: What the process's cgroups allow; None where there is no limit.
    """

    total: int | None
    available: int | None
    limit: int | None


def machine_name(threads: int | None = None) -> str:
    """Processor, threads and system, e.g. ``AMD EPYC 7763, 2 threads, Linux x86_64``.

    Args:
        threads: How many were used; by default what the process may use.
    """
    count = available_threads() if threads is None else threads
    return f"{processor_name()}, {count} thread{'s' if count != 1 else ''}, {platform.system()} {platform.machine()}"


def processor_name() -> str:
    """The processor as it calls itself, or its kind."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def board_name() -> str | None:
    """The single-board computer that this is, e.g. ``Raspberry Pi 5 Model B Rev 1.0``; None where none is known."""
    try:
        return _BOARD.read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def memory_size() -> MemorySize:
    """How much memory there is."""
    try:
        fields = (line.split() for line in _MEMINFO.read_text().splitlines())
        found = {words[0]: int(words[1]) * 1024 for words in fields if len(words) > 1 and words[1].isdecimal()}
    except OSError:  # not Linux
        pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
        return MemorySize(pages * os.sysconf("SC_PAGE_SIZE") if pages else None, None, None)
    return MemorySize(found.get("MemTotal:"), found.get("MemAvailable:"), cgroup_memory())


def runtime_versions() -> dict[str, str]:
    """Versions of Python, edgepipe and what it runs on; a package that is not installed is left out."""
    packages = ("edgepipe", "onnxruntime", "onnxruntime-gpu", "tokenizers", "numpy")
    return {"python": platform.python_version(), **package_versions(packages)}


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of those of some packages that are installed; none of them is imported."""
    from importlib.metadata import PackageNotFoundError, version  # it takes long to load

    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
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


def kernel_flags() -> tuple[str, ...]:
    """Those of :data:`KERNEL_FLAGS` that the processor has; empty where that is not known."""
    flags = cpu_flags()
    return tuple(name for name in KERNEL_FLAGS if name in flags)


def _cpuinfo(key: str) -> str | None:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in fields if name.strip() == key), None)
