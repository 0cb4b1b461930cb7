"""What each contender tells about itself once its first label is out: imported after it, so that it costs no start."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

WARM_UP_REQUESTS = 20
LEAST_REQUESTS = 20


def measure(classify: Callable[[str], object], text: str, seconds: float) -> None:
    """Print one line of JSON: memory in bytes after the first label and at the end, requests in milliseconds.

    Args:
        classify: The contender.
        text: The request.
        seconds: How long to repeat it; 0 for not at all.
    """
    report: dict[str, object] = {"anonymous_bytes": _status("RssAnon"), "start_peak_bytes": _status("VmHWM")}
    times = _timed(classify, text, seconds) if seconds else []
    if times:
        report |= {"request_ms": statistics.median(times) * 1e3, "runs": len(times)}
        report["p95_ms"] = statistics.quantiles(times, n=20, method="inclusive")[-1] * 1e3
    print(json.dumps(report | {"peak_bytes": _status("VmHWM")}))


def _timed(classify: Callable[[str], object], text: str, seconds: float) -> list[float]:
    for _ in range(WARM_UP_REQUESTS):
        classify(text)
    times = []
    end = time.perf_counter() + seconds
    while len(times) < LEAST_REQUESTS or time.perf_counter() < end:
        start = time.perf_counter()
        classify(text)
        times.append(time.perf_counter() - start)
    return times


def _status(field: str) -> int | None:
    """A field of /proc/self/status in bytes; None where there is none (not Linux)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)
