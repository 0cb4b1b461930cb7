"""How long variants take beside each other: rounds in turn, so that what disturbs the machine disturbs them alike."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from edgepipe.backend.threads import available_threads
from edgepipe.benchmarking.timing import take_turns, time_runs

_ROUNDS = 9

# How often the rounds are done while the machine is noisy.
_TRIES = 4

# Seconds before each run, see `time_runs`.
_SETTLE = 0.05

# Latencies that are this near to each other are equal, however quiet the machine.
_ALIKE = 0.03

# A machine whose rounds differ by more than this share of their median is busy with other things.
NOISY = 0.15


@dataclass(frozen=True, slots=True)
class Latency:
    """The rounds of one variant.

    Attributes:
        median_ms: Milliseconds an input.
        spread: The middle half of the rounds, from end to end, as a share of the median.
    """

    median_ms: float
    spread: float


def measure(
    runs: Mapping[str, Callable[[], int]],
    *,
    rounds: int = _ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] = lambda done, total: None,
    deadline: float = math.inf,
) -> dict[str, Latency]:
    """Run each in turn, round after round; up to four times as many rounds while the machine is noisy.

    Args:
        runs: What to run by name; each returns how many inputs it went through.
        rounds: How many rounds are measured, after one that is not.
        clock: Seconds that go on.
        progress: Told how many rounds of how many are done.
        deadline: When to add no more rounds, by :func:`time.monotonic`.
    """

    def milliseconds(run: Callable[[], int]) -> float:
        inputs = 1

        def count_inputs() -> None:
            nonlocal inputs
            inputs = run()

        [seconds] = time_runs(count_inputs, settle=_SETTLE, clock=clock)
        return 1000 * seconds / inputs

    turns = [partial(milliseconds, run) for run in runs.values()]
    take_turns(turns, rounds=1)  # the first is not measured
    times: dict[str, list[float]] = {name: [] for name in runs}
    found: dict[str, Latency] = {}
    for attempt in range(_TRIES):
        for done in range(attempt * rounds, (attempt + 1) * rounds):
            for own, new in zip(times.values(), take_turns(turns, rounds=1), strict=True):
                own += new
            progress(done + 1, (attempt + 1) * rounds)
        found = {name: median_latency(own) for name, own in times.items()}
        if not is_noisy(found) or time.monotonic() >= deadline:
            break
    return found


def foreign_load() -> tuple[float, int] | None:
    """How busy other programs keep the machine: asked before an export's own work, which counts as well.

    Returns:
        The load average of the last minute and the number of processors, where more than half of them are busy; None on
        a quieter machine, and where the system does not say.
    """
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return None
    processors = available_threads()
    return (load, processors) if load > processors / 2 else None


def is_noisy(found: Mapping[str, Latency]) -> bool:
    """Whether the figures of any variant are too far apart to be believed."""
    return any(latency.spread > NOISY for latency in found.values())


def are_alike(faster: Latency, slower: Latency) -> bool:
    """Whether the rounds do not tell two variants apart: within 3 %, or where their middle halves overlap."""
    return slower.median_ms <= faster.median_ms * (1 + _ALIKE) or (
        slower.median_ms * (1 - slower.spread / 2) <= faster.median_ms * (1 + faster.spread / 2)
    )


def describe_latencies(found: Mapping[str, Latency]) -> str:
    """How long a run takes in each variant or precision, in words."""
    return ", ".join(f"{latency.median_ms:.3g} ms in {name}" for name, latency in found.items())


def median_latency(times: Sequence[float]) -> Latency:
    """The latency that at least two rounds show, in milliseconds as they are."""
    median = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4)
    return Latency(median, (high - low) / median if median else 0.0)
