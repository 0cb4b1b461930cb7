"""Memory of this process, as the kernel counts it."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def read_memory() -> dict[str, int | None]:
    """Memory in bytes; None for what this system does not tell.

    Returns:
        ``peak_bytes``: the most that was ever resident (``VmHWM`` on Linux, ``ru_maxrss`` on macOS);
        ``anonymous_bytes``: what is resident now and not backed by a file (``RssAnon``), so that neither other
        processes can share it nor the kernel drop it; ``resident_bytes``: both kinds (``VmRSS``).
    """
    fields = {"peak_bytes": "VmHWM", "anonymous_bytes": "RssAnon", "resident_bytes": "VmRSS"}
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return {name: None for name in fields} | {"peak_bytes": _peak_without_proc()}
    kilobytes = {key: value.split()[0] for key, _, value in (line.partition(":") for line in lines) if value.split()}
    return {name: int(kilobytes[key]) * 1024 if key in kilobytes else None for name, key in fields.items()}


def _peak_without_proc() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
