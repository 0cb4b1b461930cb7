"""How rows go through fastest here: in batches or alone, on all threads or side by side. A short measurement tells."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from edgepipe.backend.threads import available_threads
from edgepipe.errors import EdgepipeError
from edgepipe.factory import pipeline
from edgepipe.mapping.row_runner import RunOptions, make_runner
from edgepipe.pipelines.base import Task
from edgepipe.pipelines.batch_independence import find_sharing, shares_steps
from edgepipe.pipelines.generative import GenerativeTask
from edgepipe.pipelines.sentence_embedding import Embedding, EmbeddingTask

# Pieces of a batch, where a batch changes no result: on a processor, on other devices, and texts that are written.
CPU_BATCH, DEVICE_BATCH, WRITTEN_BATCH = 32, 128, 8

# Seconds of one try of a way, how often each is tried, in turns, and inputs that go through before they count. What
# counts is the best: a machine that is slow for a while slows one try.
_SECONDS, _TRIES = 1.0, 2
_WARM_UP = 8

# Inputs that are given at once.
_LIST = 16

# How much faster something has to be to be taken, and below which use of the processors other processes are.
_FASTER = 1.1
_BUSY = 0.85


@dataclass(frozen=True, slots=True)
class Execution:
    """How a job runs.

    Attributes:
        batch_size: How many pieces go through the model at once.
        session: Arguments of :func:`edgepipe.pipeline` beside the job's own.
        processes: How many processes make parts; 1 is this one alone.
    """

    batch_size: int
    session: Mapping[str, Any]
    processes: int = 1

    def describe(self) -> str:
        """In words."""
        batch = "one text at a time" if self.batch_size == 1 else f"batches of up to {self.batch_size}"
        workers = self.session.get("workers", 1)
        side = f", {workers} side by side" if workers > 1 else ""
        return f"{batch}{side}" + (f", in {self.processes} processes" if self.processes > 1 else "")


def find_batch_size(task: Task, embedding: Embedding | None = None) -> int:
    """The largest batch that changes no result, and that is of use: 1 where every batch changes results."""
    if isinstance(task, GenerativeTask):
        return WRITTEN_BATCH if shares_steps(task) else 1
    run = None
    if embedding is not None:
        assert isinstance(task, EmbeddingTask), "it made the embedding"
        run = partial(task.embed_batch, embedding=embedding)
    _, pads = find_sharing(task, run)
    if not pads:
        return 1
    return CPU_BATCH if task.model.on_cpu else DEVICE_BATCH


def load_side_by_side(task: Task, options: Mapping[str, Any], session: Mapping[str, Any]) -> Task | None:
    """The same pipeline with a thread for each of several runs; None where that makes no sense.

    Args:
        task: The pipeline.
        options: Its options.
        session: What it was loaded with: who says how many threads or workers there are has chosen.
    """
    threads = available_threads()
    if task.generates or not task.model.on_cpu or threads < 2 or not {"num_threads", "workers"}.isdisjoint(session):
        return None
    directory = task.model.directory  # type: ignore[attr-defined]
    given = {**session, **side_by_side_session(task, threads), "task": task.task}
    try:
        other: Task = pipeline(model=directory, **given, **options)
    except (EdgepipeError, MemoryError):  # e.g. an engine that runs one at a time, or too little memory for a second
        return None
    return other


def side_by_side_session(task: Task, threads: int) -> dict[str, Any]:
    """The arguments of :func:`edgepipe.pipeline` for so many runs at once."""
    return {"dtype": task.model.dtype, "num_threads": 1, "workers": threads, "verify": "never"}


def choose_execution(
    task: Task,
    side_by_side: Task | None,
    inputs: Sequence[Any],
    *,
    embedding: Embedding | None = None,
    batch_size: int | None = None,
) -> tuple[Execution, Task]:
    """What is fastest here.

    Args:
        task: The pipeline with all threads for one run.
        side_by_side: See :func:`load_side_by_side`.
        inputs: Some of the job's.
        embedding: How vectors are made, where they are wanted in place of the task's results.
        batch_size: The only one that may be; None to choose.

    Returns:
        How, and which of the two pipelines; the other one is closed.
    """
    largest = find_batch_size(task, embedding) if batch_size is None else batch_size
    sizes = sorted({1, largest}) if batch_size is None else [batch_size]
    tasks = [each for each in (side_by_side, task) if each is not None]
    ways = [(each, size) for each in tasks for size in sizes]
    best, busy = ways[0], 1.0
    if len(ways) > 1 and len(inputs) > _WARM_UP:
        trials = [_Trial(*way, inputs, embedding) for way in ways]
        for _ in range(_TRIES):
            for trial in trials:
                trial.run()
        fastest = trials[0]
        for trial in trials[1:]:
            fastest = trial if trial.speed > fastest.speed * _FASTER else fastest
        best, busy = ways[trials.index(fastest)], fastest.busy
    chosen, size = best
    for each in tasks:
        if each is not chosen:
            each.close()
    threads = available_threads()
    session = side_by_side_session(task, threads) if chosen is side_by_side else {}
    several = chosen is side_by_side and busy < _BUSY
    return Execution(size, session, threads if several else 1), chosen


class _Trial:
    """One way, tried.

    Attributes:
        speed: Of the best try, tokens a second.
        busy: How much of the processors it used.
    """

    def __init__(self, task: Task, batch_size: int, inputs: Sequence[Any], embedding: Embedding | None) -> None:
        self._runner = make_runner(task, RunOptions(batch_size), embedding)
        self._inputs = inputs
        self.speed, self.busy = 0.0, 1.0
        list(self._runner.run([(0, inputs[:_WARM_UP])]))

    def run(self) -> None:
        """Try it once more, for a while, from the first input on."""
        begin, used = time.perf_counter(), time.process_time()

        def lists() -> Iterator[tuple[int, Sequence[Any]]]:
            place = 0
            while time.perf_counter() - begin < _SECONDS:
                yield place, [self._inputs[(place + each) % len(self._inputs)] for each in range(_LIST)]
                place += _LIST

        tokens = sum(outcomes.tokens for outcomes in self._runner.run(lists()))
        seconds = time.perf_counter() - begin
        if tokens / seconds > self.speed:
            self.speed = tokens / seconds
            self.busy = (time.process_time() - used) / (seconds * available_threads())
