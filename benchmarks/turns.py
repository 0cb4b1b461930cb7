"""What graphs take beside each other: rounds in turn, so that a machine that is busy for a while slows all of them."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain

from edgepipe.benchmarking.timing import take_turns, time_runs

# onnxruntime's threads go on spinning for a while after a run: seconds until they do not disturb another session, and
# calls until its own are awake.
SETTLE, WAKE = 0.05, 3

# By default.
ROUNDS = 7


def print_progress(line: str) -> None:
    """Print how far it is, beside the result."""
    print(line, file=sys.stderr, flush=True)


def measure_medians(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    calls: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """The median time of a call of each, in seconds by the clock."""
    turns = [partial(time_runs, run, runs=calls, wake=WAKE, settle=SETTLE, clock=clock) for run in runs.values()]
    times = take_turns(turns, rounds)
    return {name: statistics.median(chain(*own)) for name, own in zip(runs, times, strict=True)}


def format_medians(found: Mapping[str, float], first: str, unit: str, units: float, digits: int) -> str:
    """Medians in a unit, of which a second has so many, each with its ratio to the first's."""
    each = (f"{name} {units * took:.{digits}f} {unit} ({took / found[first]:.2f})" for name, took in found.items())
    return ", ".join(each)
