"""Which inputs may share a batch without changing each other's results, and where that is faster: tried at the start.

Whether an input's results depend on its batch is for :mod:`edgepipe.pipelines.batch_independence` to find.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgepipe.backend.threads import available_threads
from edgepipe.pipelines.base import Task
from edgepipe.pipelines.batch_independence import find_sharing, make_piece

# Lengths and numbers of rows that are tried, and seconds after which no more are.
_LENGTHS = (16, 64, 256)
_ROWS = (1, 2, 4, 8, 16)
_SECONDS = 2.0

# Seconds of a run that is measured once.
_LONG_RUN = 0.1

# How much faster something has to be to be taken.
_FASTER = 1.05

# Inputs of other lengths share a batch while the shorter has so much of the longer.
_ALIKE = 0.75


@dataclass(frozen=True, slots=True)
class Sharing:
    """What may share a batch.

    Attributes:
        rows: How many rows are fastest, by the longest length for which that holds; none where nothing is shared.
        pads: Whether inputs of other lengths may be in a batch.
        side_by_side: How many batches run at once, each on one thread; 1 where all threads work on one batch.
    """

    rows: Mapping[int, int] = field(default_factory=dict)
    pads: bool = False
    side_by_side: int = 1

    def count_rows(self, length: int) -> int:
        """The most rows of a batch whose first has so many tokens."""
        if not self.rows:
            return 1
        return next((rows for longest, rows in self.rows.items() if length <= longest), 1)

    def may_share(self, length: int, other: int) -> bool:
        """Whether inputs of such lengths may be in one batch, and it is worth it."""
        return length == other or (self.pads and min(length, other) >= _ALIKE * max(length, other))

    def describe(self) -> str:
        """For a log."""
        runs = f"{self.side_by_side} batches side by side" if self.side_by_side > 1 else "one batch at a time"
        if not self.rows or max(self.rows.values()) == 1:
            return f"{runs}, of one input each"
        sizes = ", ".join(f"{rows} of up to {length} tokens" for length, rows in self.rows.items())
        return f"{runs}: {sizes}; lengths {'may differ' if self.pads else 'are equal'}"


def measure_sharing(wide: Task, narrow: Task | None) -> Sharing:
    """Find out what may share a batch, and what is fastest.

    Args:
        wide: The task on a session with all threads.
        narrow: The same on a session with one thread a run; None where there is none.
    """
    shares, pads = find_sharing(wide)
    deadline = time.perf_counter() + _SECONDS
    measured = _measure_rows(narrow or wide, deadline) if shares else {}
    side_by_side = available_threads() if narrow is not None else 1
    if narrow is not None and not _is_faster(narrow, wide, measured, side_by_side):
        side_by_side = 1
    return Sharing({length: rows for length, (rows, _) in measured.items()}, pads, side_by_side)


def _measure_rows(task: Task, deadline: float) -> dict[int, tuple[int, float]]:
    """For each length the fastest number of rows, and seconds a row."""
    found: dict[int, tuple[int, float]] = {}
    for tokens in _LENGTHS:
        piece = make_piece(task, tokens, 0)
        best: tuple[int, float] | None = None
        for rows in _ROWS:
            expected = 0.0 if best is None else 2 * rows * best[1]
            if time.perf_counter() + expected > deadline:
                break
            seconds = _time(lambda rows=rows, piece=piece: task.run_batch([piece] * rows)) / rows  # type: ignore[misc]
            if best is not None and seconds * _FASTER > best[1]:
                break
            best = rows, seconds
        if best is None:
            break
        found[len(piece["input_ids"])] = best
    return found


def _is_faster(narrow: Task, wide: Task, measured: Mapping[int, tuple[int, float]], count: int) -> bool:
    """Whether several batches at once, on a thread each, are faster than one after another on all threads."""
    piece = make_piece(wide, _LENGTHS[1], 0)
    rows = next((rows for length, (rows, _) in measured.items() if len(piece["input_ids"]) <= length), 1)
    batch = [piece] * rows

    def run_side_by_side() -> None:
        threads = [threading.Thread(target=narrow.run_batch, args=(batch,)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def run_in_turn() -> None:
        for _ in range(count):
            wide.run_batch(batch)

    return _time(run_side_by_side) * _FASTER < _time(run_in_turn)


def _time(run: Callable[[], Any]) -> float:
    """The shortest of three runs, after one that does not count, in seconds; of long ones one alone."""
    begin = time.perf_counter()
    run()
    found = []
    for _ in range(3 if time.perf_counter() - begin < _LONG_RUN else 1):
        begin = time.perf_counter()
        run()
        found.append(time.perf_counter() - begin)
    return min(found)
