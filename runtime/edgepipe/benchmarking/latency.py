"""Timing in one process: calls in turns, round after round, on the monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgepipe.benchmarking.results import Latency

if TYPE_CHECKING:
    from edgepipe.models.encoder import Model

_LEAST_RUNS = 2  # a round
_WARM_UP_RUNS = 3


def graph_runner(model: Model, ids: Sequence[int], batch: int, length: int) -> Callable[[], object]:
    """A call of the graph alone on a full batch: no tokenizer, no checks, no padding.

    Args:
        model: The graph.
        ids: Token ids to repeat up to `length`.
        batch: Rows.
        length: Tokens of each row.

    Raises:
        InputError: the graph does not take this shape.
        BundleError: the graph declares inputs that a tokenizer does not make.
    """
    row = np.resize(np.asarray(ids, dtype=np.int64), length)
    encoding = {"input_ids": np.tile(row, (batch, 1))}
    model(**encoding)  # the checks that the timed calls go without
    encoding |= {
        "attention_mask": np.ones((batch, length), np.int64),
        "token_type_ids": np.zeros((batch, length), np.int64),
    }
    feeds = {name: encoding[name].astype(dtype) for name, dtype in model.session.inputs.items()}
    run = model.session.run
    return lambda: run(feeds)


def measure(
    calls: Sequence[Callable[[], object]], *, rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[Latency]:
    """Time calls in turns.

    Args:
        calls: What to time.
        rounds: How many times all of them are gone through.
        seconds: Measuring time of each call over all rounds.
        progress: Called with a line of text before each round.

    Returns:
        A latency for each call.
    """
    progress("warming up")
    for call in calls:
        for _ in range(_WARM_UP_RUNS):
            call()
    times: list[list[list[float]]] = [[] for _ in calls]  # call, round, run: seconds
    for number in range(rounds):
        progress(f"latency, round {number + 1} of {rounds}")
        for call, kept in zip(calls, times, strict=True):
            kept.append(_timed(call, seconds / rounds))
    return [Latency.of(kept) for kept in times]


def _timed(call: Callable[[], object], seconds: float) -> list[float]:
    call()  # the call before was another shape: caches and the arena settle
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _LEAST_RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times
