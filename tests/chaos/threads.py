"""Threads, forks and signals while pipelines are loaded and called: every answer is right, and nothing hangs.

A case is a process of its own (``python -m tests.chaos.threads KIND SEED CASE BUNDLE``), killed if it takes too long.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

from edgepipe import pipeline
from tests.chaos.exporters import NAMES, TEXT, Exporter
from tests.chaos.run import Outcome, draw, run_cases, wait

_LIMIT = 100
_TEXTS = [TEXT, "c", "b a", "a a a b c"]


class AlarmError(Exception):
    """What a handler of SIGALRM raises, as users' time limits do."""


def load_in_threads(random: Random, bundle: str) -> None:
    """Eight threads load, call and close pipelines of their own, beside one that all share."""
    shared = pipeline(model=bundle, num_threads=random.choice([1, 2]))
    expected, wrong = shared(_TEXTS), []

    def work() -> None:
        try:
            for _ in range(4):
                with pipeline(model=bundle, num_threads=1) as own:
                    if own(_TEXTS) != expected or shared(_TEXTS) != expected:
                        wrong.append("another answer")
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is wrong
            wrong.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong


def fork_beside_calls(random: Random, bundle: str) -> None:
    """Children are forked while threads call and load; each child calls."""
    classify = pipeline(model=bundle, num_threads=random.choice([1, 2, 4]))
    expected, stop = classify(_TEXTS), threading.Event()

    def call() -> None:
        while not stop.is_set():
            classify(_TEXTS)

    def load() -> None:
        while not stop.is_set():
            pipeline(model=bundle, num_threads=2).close()

    threads = [threading.Thread(target=target) for target in (call, call, call, load)]
    for thread in threads:
        thread.start()
    statuses = []
    for _ in range(10):
        time.sleep(random.uniform(0, 0.01))
        process = os.fork()
        if process == 0:
            signal.alarm(40)
            if random.random() < 0.3:
                os._exit(0 if pipeline(model=bundle)(_TEXTS) == expected else 3)
            os._exit(0 if classify(_TEXTS) == expected else 4)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    stop.set()
    for thread in threads:
        thread.join()
    assert statuses == [0] * 10, statuses


_global: Any = None


def _call_global(text: str) -> Any:
    return _global(text)


def multiprocess(random: Random, bundle: str) -> None:
    """A pool of processes calls a pipeline that was loaded before it was forked."""
    global _global
    _global = pipeline(model=bundle, num_threads=random.choice([1, 2]))
    expected = [_global(text) for text in _TEXTS]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(_call_global, _TEXTS * 5).get(60) == expected * 5
    assert [_global(text) for text in _TEXTS] == expected


def interrupt(random: Random, bundle: str) -> None:
    """SIGINT, or SIGALRM with a handler that raises, during calls and loads; afterwards the answers are right."""
    classify = pipeline(model=bundle, num_threads=2)
    expected = classify(_TEXTS)

    def ring(*_: object) -> None:
        raise AlarmError

    signal.signal(signal.SIGALRM, ring)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    seen: Counter[str] = Counter()
    for _ in range(60):
        number = random.choice([signal.SIGALRM, signal.SIGINT])
        load = random.random() < 0.2
        caught = threading.Event()
        try:
            _send(number, random.uniform(0, 0.01), caught)
            while True:
                if load:
                    pipeline(model=bundle, num_threads=1).close()
                else:
                    classify(_TEXTS * 4)
        except (AlarmError, KeyboardInterrupt) as error:
            caught.set()
            seen[type(error).__name__] += 1
        assert classify(_TEXTS) == expected
    assert set(seen) == {"AlarmError", "KeyboardInterrupt"}, seen


def _send(number: int, delay: float, caught: threading.Event) -> None:
    """Send this process a signal, and again: Python loses what a handler raises in a callback of a weak reference."""

    def send() -> None:
        time.sleep(delay)
        while not caught.is_set():
            os.kill(os.getpid(), number)
            caught.wait(2)

    threading.Thread(target=send, daemon=True).start()


def terminate(random: Random, bundle: str) -> None:
    """SIGTERM ends a process that calls from several threads, at once."""
    process = os.fork()
    if process == 0:
        classify = pipeline(model=bundle, num_threads=2)
        for _ in range(3):
            threading.Thread(target=lambda: [classify(_TEXTS) for _ in iter(int, 1)], daemon=True).start()
        while True:
            classify(_TEXTS)
    time.sleep(random.uniform(0, 0.5))
    os.kill(process, signal.SIGTERM)
    assert wait(process) == -signal.SIGTERM


KINDS: dict[str, Callable[[Random, str], None]] = {
    "load in threads": load_in_threads,
    "fork beside calls": fork_beside_calls,
    "multiprocessing": multiprocess,
    "signals": interrupt,
    "SIGTERM": terminate,
}


def run_one(seed: int, case: int, bundle: Path, counts: Counter[str]) -> str | None:
    """A case in a process of its own; what is wrong."""
    kind = list(KINDS)[case % len(KINDS)]
    counts[kind] += 1
    command = [sys.executable, "-W", "ignore", "-m", "tests.chaos.threads", kind, f"{seed}", f"{case}", str(bundle)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, said = process.communicate(timeout=_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"{kind}: hung for {_LIMIT} s"
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return None if process.returncode == 0 else f"{kind}: status {process.returncode}: {said.strip()[-400:]}"


def run(exporter: Exporter, folder: Path, seed: int, cases: Iterable[int], *, quiet: bool = False) -> Outcome:
    """Run cases of this attack."""
    bundle = folder / "bundle"
    wait(exporter.start(NAMES[0], bundle))
    found: Callable[[int, Counter[str]], str | None] = lambda case, counts: run_one(seed, case, bundle, counts)  # noqa: E731
    return run_cases("threads", cases, found, quiet=quiet)


def main() -> None:
    """Run one case here."""
    kind, seed, case, bundle = sys.argv[1:]
    warnings.simplefilter("ignore")
    KINDS[kind](draw(int(seed), "threads", int(case)), bundle)


if __name__ == "__main__":
    main()
