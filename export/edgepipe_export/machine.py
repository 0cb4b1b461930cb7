"""The machine that figures were measured on, in words, and what its CPU can do."""

from __future__ import annotations

import platform
from pathlib import Path

from edgepipe.threads import available_threads

_CPUINFO = Path("/proc/cpuinfo")


def machine_name() -> str:
    """CPU, threads and system, e.g. ``AMD EPYC 7763, 2 threads, Linux x86_64``."""
    threads = available_threads()
    cpu = _cpuinfo("model name") or platform.processor() or platform.machine()
    return f"{cpu}, {threads} thread{'s' if threads != 1 else ''}, {platform.system()} {platform.machine()}"


def cpu_flags() -> frozenset[str]:
    """The instruction set extensions Linux reports for the first CPU; empty on other systems."""
    return frozenset((_cpuinfo("flags") or _cpuinfo("Features") or "").split())


def _cpuinfo(key: str) -> str | None:
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None
