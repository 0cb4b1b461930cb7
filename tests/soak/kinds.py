"""Three kinds of soak: calls from several threads, calls one after another, bundles that are loaded and closed."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.soak.calls import Call, is_equal, open_pipelines
from tests.soak.process_state import ProcessState, describe, find_growth, sample

# Samples of a run, and seconds between two lines of progress.
_SAMPLES = 100
_PROGRESS = 10
_MOST_SHOWN = 20


@dataclass
class Soak:
    """What a run saw.

    Attributes:
        name: The kind's.
        wanted: Texts to run, or bundles to load.
        seed: What draws them.
        done: How many were done.
        invocations: In how many calls of a pipeline.
        wrong: What went wrong.
        counts: How many of what.
        samples: Of the process.
    """

    name: str
    wanted: int
    seed: int
    done: int = 0
    invocations: int = 0
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    samples: list[ProcessState] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    shown: float = field(default_factory=time.monotonic)

    def check(self, call: Call, result: Any, place: str) -> None:
        """Compare a result with the one that it must have."""
        self.counts[call.task] += call.size
        self.invocations += 1
        if not is_equal(result, call.result):
            self.wrong.append(f"{place}: {call.task}({call.inputs!r}, {call.options}) gave {result!r}"[:500])

    def sample_when_due(self) -> None:
        """Sample the process at every hundredth of the run, and show progress."""
        due = len(self.samples) * self.wanted // _SAMPLES
        if self.done >= due:
            self.samples.append(sample(self.done))
        now = time.monotonic()
        if now - self.shown >= _PROGRESS:
            self.shown = now
            print(f"  {self.line()}", file=sys.stderr, flush=True)

    def line(self) -> str:
        """What was done until now."""
        took = f"{time.monotonic() - self.began:.0f} s"
        return f"{self.name}: {self.done} of {self.wanted} in {took}, {len(self.wrong)} wrong"

    def report(self, command: str) -> None:
        """Print all."""
        tasks = ", ".join(f"{count} {task}" for task, count in self.counts.most_common())
        print(f"{self.line()}, {self.invocations} calls of a pipeline: {tasks}\n  {describe(self.samples)}")
        for wrong in self.wrong[:_MOST_SHOWN]:
            print(f"  {wrong}")
        if self.wrong:
            print(f"  again: {command} --only {self.name}")
        sys.stdout.flush()


def run_threads(soak: Soak, pipelines: dict[str, Any], calls: list[Call], threads: int) -> None:
    """Call the same pipelines from several threads at once, each with calls that its own seed draws."""
    stop = threading.Event()
    done = [0] * threads
    lock = threading.Lock()

    def work(place: int) -> None:
        random = Random(f"threads {soak.seed} {place}")
        share = soak.wanted // threads + (place < soak.wanted % threads)
        while done[place] < share and not stop.is_set():
            call = calls[random.randrange(len(calls))]
            where = f"thread {place}, text {done[place]}"
            try:
                result = pipelines[call.task](call.inputs, **call.options)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is wrong
                with lock:
                    soak.wrong.append(f"{where}: {call}: {error!r}")
            else:
                with lock:
                    soak.check(call, result, where)
            done[place] += call.size

    workers = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    try:
        hung = time.monotonic()
        while any(worker.is_alive() for worker in workers):
            before = soak.done
            workers[0].join(0.05)
            soak.done = sum(done)
            if soak.done > before:
                hung = time.monotonic()
            elif time.monotonic() - hung > 120:
                soak.wrong.append("nothing came back for two minutes: hung")
                break
            soak.sample_when_due()
    finally:
        stop.set()
        for worker in workers:
            worker.join(60)
        soak.done = sum(done)


def run_requests(soak: Soak, pipelines: dict[str, Any], calls: list[Call]) -> None:
    """Call the pipelines one after another."""
    random = Random(f"requests {soak.seed}")
    while soak.done < soak.wanted:
        call = calls[random.randrange(len(calls))]
        try:
            soak.check(call, pipelines[call.task](call.inputs, **call.options), f"text {soak.done}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
            soak.wrong.append(f"text {soak.done}: {call}: {error!r}")
        soak.done += call.size
        soak.sample_when_due()


def run_loads(soak: Soak, bundles: dict[str, Path], calls: list[Call]) -> None:
    """Load bundles, call each once, and close them: every second cycle by ``close``, the others by letting go."""
    random = Random(f"loads {soak.seed}")
    tasks = sorted(bundles)
    by_task = {task: [call for call in calls if call.task == task] for task in tasks}
    while soak.done < soak.wanted:
        task = random.choice(tasks)
        call = random.choice(by_task[task])
        opened = open_pipelines({task: bundles[task]})[task]
        soak.check(call, opened(call.inputs, **call.options), f"load {soak.done}")
        if soak.done % 2:
            opened.close()
        del opened
        soak.done += 1
        soak.sample_when_due()


def finish(soak: Soak, run: Callable[[], None]) -> bool:
    """Run one, whatever happens; whether Ctrl-C ended it."""
    stopped = False
    soak.samples.append(sample(0))
    try:
        run()
    except KeyboardInterrupt:
        stopped = True
    soak.samples.append(sample(soak.done))
    if not stopped:
        soak.wrong += find_growth(soak.samples)
    return stopped
