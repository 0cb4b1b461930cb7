"""Parts made by several processes. One that dies is replaced, and its part is made again."""

from __future__ import annotations

import multiprocessing
import signal
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from edgepipe.errors import EdgepipeError
from edgepipe.mapping.job import Part
from edgepipe.mapping.part_worker import PartReport, WorkerSettings, load_worker

# How often a part may end its process.
_MOST_DEATHS = 2

# Seconds that a process gets to end.
_PATIENCE = 5.0


@dataclass(eq=False, slots=True)
class _Process:
    """A process, with what it is sent through, the parts that it has, and whether it knows that there are no more."""

    process: BaseProcess
    connection: Connection
    parts: deque[Part] = field(default_factory=deque)
    told: bool = False


def run_in_processes(settings: WorkerSettings, parts: Sequence[Part], count: int) -> Iterator[PartReport]:
    """Make parts in several processes; the report of each when it is written.

    Args:
        settings: What each process loads.
        parts: The parts.
        count: How many processes.

    Raises:
        EdgepipeError: what a process raises; or one died twice with the same part.
    """
    waiting = deque(parts)
    deaths: Counter[int] = Counter()
    running = [_start(settings) for _ in range(min(count, len(parts)))]
    try:
        while running:
            for each in running:
                while waiting and not each.told and len(each.parts) < 2:  # the next one is there when one ends
                    each.parts.append(waiting.popleft())
                    _send(each, each.parts[-1])
                if not waiting and not each.told:
                    each.told = True
                    _send(each, None)
            ready = wait([item for each in running for item in (each.connection, each.process.sentinel)])
            for each in list(running):
                if each.connection not in ready and each.process.sentinel not in ready:
                    continue
                try:
                    found = each.connection.recv()
                except (EOFError, OSError):
                    running.remove(each)
                    if each.parts or not each.told:
                        waiting.extendleft(reversed(each.parts))
                        _note_death(each, deaths)
                        running.append(_start(settings))
                    _stop(each)
                    continue
                if isinstance(found, BaseException):
                    raise found
                each.parts.popleft()
                yield found
    finally:
        for each in running:
            each.process.terminate()
        for each in running:
            _stop(each)


def _start(settings: WorkerSettings) -> _Process:
    context = multiprocessing.get_context("spawn")  # a fork would have the threads' locks and not the threads
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(settings, theirs), daemon=True)
    process.start()
    theirs.close()
    return _Process(process, ours)


def _send(each: _Process, part: Part | None) -> None:
    with suppress(OSError):  # it has died; what it had is taken back where its end is seen
        each.connection.send(part)


def _note_death(each: _Process, deaths: Counter[int]) -> None:
    each.process.join(_PATIENCE)
    if not each.parts:
        raise EdgepipeError(f"a process ended before its first part (exit status {each.process.exitcode})")
    number = each.parts[0].number
    deaths[number] += 1
    if deaths[number] == _MOST_DEATHS:
        raise EdgepipeError(
            f"part {number} ended two processes (exit status {each.process.exitcode}); the machine may lack memory: "
            "take fewer --processes, or a smaller --part-rows"
        )


def _stop(each: _Process) -> None:
    each.connection.close()
    each.process.join(_PATIENCE)
    if each.process.is_alive():
        each.process.kill()
        each.process.join()


def _serve(settings: WorkerSettings, connection: Connection) -> None:
    """What a process does: it makes the parts that it is sent, until nobody is there any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who starts it ends it
    warnings.simplefilter("ignore", UserWarning)  # the first process said it
    try:
        worker = load_worker(settings)
        for _ in worker.run(_receive(connection), connection.send):
            pass
    except EdgepipeError as error:
        connection.send(error)
    except (BrokenPipeError, ConnectionError):
        pass  # nobody waits any more


def _receive(connection: Connection) -> Iterator[Any]:
    with suppress(EOFError, OSError):  # nobody is there any more
        while (part := connection.recv()) is not None:
            yield part
