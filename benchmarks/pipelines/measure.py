"""What each contender measures of itself once its first label is out: imported after it, so that it costs no start."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

WARM_UP_REQUESTS = 20
LEAST_REQUESTS = 20

# In place of the seconds: run the lists of texts that standard input names, instead of one request again and again.
LISTS = "lists"


def measure(classify: Callable[..., object], text: str, seconds: str) -> None:
    """Print one line of JSON: memory in bytes after the first label and at the end, requests in milliseconds.

    Args:
        classify: The contender.
        text: The request.
        seconds: How long to repeat it, 0 for not at all; or `LISTS`, see :func:`run_lists`.
    """
    if seconds == LISTS:
        run_lists(classify)
    else:
        print(json.dumps(_measure_requests(classify, text, float(seconds))))


def run_lists(classify: Callable[..., object]) -> None:
    """Answer each line of standard input, ``{"texts": [...], "batch_size": 8}``, with a line of JSON.

    The answer has the seconds that the list took, the peak memory so far in bytes, and the results.
    """
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        results = classify(request["texts"], batch_size=request["batch_size"])
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "peak_bytes": _status("VmHWM"), "results": results}), flush=True)


def _measure_requests(classify: Callable[..., object], text: str, seconds: float) -> dict[str, object]:
    report: dict[str, object] = {"anonymous_bytes": _status("RssAnon"), "start_peak_bytes": _status("VmHWM")}
    times = _time_requests(classify, text, seconds) if seconds else []
    if times:
        report |= {"request_ms": statistics.median(times) * 1e3, "runs": len(times)}
        report["p95_ms"] = statistics.quantiles(times, n=20, method="inclusive")[-1] * 1e3
    return report | {"peak_bytes": _status("VmHWM")}


def _time_requests(classify: Callable[..., object], text: str, seconds: float) -> list[float]:
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
