"""Which inputs may share a batch without changing each other's results, and where that is faster: tried at the start.

What an input gives must not depend on what it is batched with. Dynamic 8-bit variants round activations by the largest
of a whole batch, some models read padding, and nobody knows every graph of every tool: so the model is asked. Inputs go
through it alone, with others of their length, and with longer ones.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgepipe.backend.threads import available_threads
from edgepipe.errors import EdgepipeError
from edgepipe.pipelines.base import Outputs, Task
from edgepipe.serve.scheduling.work import Piece

# How far outputs of a batch may be from those of an input alone, as a share of the largest: what adding up in another
# order does in fp32. Rounding by other scales does a thousand times as much.
_SAME = 1e-5

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

_WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "sees", "all", "in", "town")


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
    shares, pads = _find_sharing(wide)
    deadline = time.perf_counter() + _SECONDS
    measured = _measure_rows(narrow or wide, deadline) if shares else {}
    side_by_side = available_threads() if narrow is not None else 1
    if narrow is not None and not _is_faster(narrow, wide, measured, side_by_side):
        side_by_side = 1
    return Sharing({length: rows for length, (rows, _) in measured.items()}, pads, side_by_side)


def make_piece(task: Task, tokens: int, seed: int) -> Piece:
    """An input of so many tokens, or fewer where the model takes fewer."""
    words = np.random.default_rng(seed).choice(_WORDS, tokens)
    limits = [tokens, *(each for each in (task.model.max_length, task.tokenizer.model_max_length) if each is not None)]
    encoding = task.tokenizer([" ".join(words)], truncation=True, max_length=min(limits))
    return task.split_rows(encoding)[0]


def _find_sharing(task: Task) -> tuple[bool, bool]:
    """Whether inputs of one length may share a batch, and whether those of others may."""
    if task.keeps_padding:  # results show the batch
        return False, False
    short = [make_piece(task, 12, seed) for seed in range(3)]
    length = min(len(each["input_ids"]) for each in short)
    equal = [{name: values[:length] for name, values in each.items()} for each in short]
    if not _gives_the_same(task, equal):
        return False, False
    may_pad = task.tokenizer.pad_token_id is not None and not task.reads_padding
    return True, may_pad and _gives_the_same(task, [*short, make_piece(task, 16, 3)])


def _gives_the_same(task: Task, pieces: Sequence[Piece]) -> bool:
    try:
        together = task.run_batch(pieces)
    except EdgepipeError:
        return False
    return all(_are_same(task.run_batch([piece])[0], outputs) for piece, outputs in zip(pieces, together, strict=True))


def _are_same(one: Outputs, other: Outputs) -> bool:
    for name, array in one.items():
        found = other[name]
        if array.dtype.kind != "f":
            if not np.array_equal(array, found):
                return False
            continue
        finite = np.isfinite(array)
        size = max(1.0, float(np.abs(array[finite]).max(initial=0.0)))
        if array.shape != found.shape or not np.array_equal(finite, np.isfinite(found)):
            return False
        if np.abs(array[finite] - found[finite]).max(initial=0.0) > _SAME * size:
            return False
    return True


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
