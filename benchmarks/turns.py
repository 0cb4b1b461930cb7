"""What graphs take beside each other: rounds in turn, so that a machine that is busy for a while slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

# onnxruntime's threads go on spinning for a while after a run: seconds until they do not disturb another session, and
# calls until its own are awake.
SETTLE, WAKE = 0.05, 3

# By default.
ROUNDS = 7


def medians(runs: Mapping[str, Callable[[], object]], rounds: int, calls: int) -> dict[str, float]:
    """The median time of a call of each, in seconds."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(SETTLE)
            for _ in range(WAKE):
                run()
            for _ in range(calls):
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def beside(found: Mapping[str, float], first: str, unit: str, units: float, digits: int) -> str:
    """Medians in a unit, of which a second has so many, each with its ratio to the first's."""
    each = (f"{name} {units * took:.{digits}f} {unit} ({took / found[first]:.2f})" for name, took in found.items())
    return ", ".join(each)
