"""Timing in turns: what is compared runs in every round, so that a busy machine slows all of it alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

Result = TypeVar("Result")


def take_turns(
    turns: Sequence[Callable[[], Result]], rounds: int, progress: Callable[[int], None] = lambda done: None
) -> list[list[Result]]:
    """What each function returned in each round; `progress` is called before a round with the number of those done."""
    results: list[list[Result]] = [[] for _ in turns]
    for done in range(rounds):
        progress(done)
        for turn, own in zip(turns, results, strict=True):
            own.append(turn())
    return results


def time_runs(
    call: Callable[[], object],
    *,
    runs: int = 1,
    seconds: float = 0.0,
    wake: int = 0,
    settle: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """The seconds of each run of a call; one turn in :func:`take_turns`.

    Args:
        call: What to time.
        runs: At least so many runs are timed.
        seconds: Runs are timed for at least so long.
        wake: Runs before these, which are not timed: caches fill, and threads wake.
        settle: Seconds to wait before all of that: onnxruntime's threads go on spinning for a while after a run, and
            would disturb another session's.
        clock: Gives the time in seconds.
    """
    if settle:
        time.sleep(settle)
    for _ in range(wake):
        call()
    times: list[float] = []
    end = clock() + seconds if seconds else 0.0
    while len(times) < runs or (seconds and clock() < end):
        start = clock()
        call()
        times.append(clock() - start)
    return times
