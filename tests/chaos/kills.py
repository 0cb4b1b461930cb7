"""Exports and overwrites that are killed: there is a whole bundle at every moment, and nothing stays for ever.

Half of the kills come at a drawn part of the processor time that an export takes, from outside. The other half come
exactly before one of its operations on files, each as likely as the others (:mod:`tests.chaos.faults`). After each kill
the destination must have one of the two bundles, whole and with the right answers; a new one may have nothing. A
reader in a process of its own loads the overwritten bundle all the time, and must see one or the other.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.chaos.exporters import NAMES, Exporter, describe, last_words
from tests.chaos.faults import SIGNALS, Operations, kill_self
from tests.chaos.reader import end_reader, start_reader
from tests.chaos.run import LIMIT, Outcome, draw, run_cases, wait

# How often each signal is drawn.
_WEIGHTS = {"SIGKILL": 8, "SIGTERM": 1, "SIGINT": 1}
# After how many kills an export runs to its end, and must leave nothing beside the bundle.
_WHOLE_EVERY = 10


@dataclass(frozen=True)
class Kill:
    """A case.

    Attributes:
        new: Whether the destination is a new one.
        signal: The signal's name.
        part: Of an export's processor time, after which it comes; None for an operation.
        place: Which of its operations, as a part of their number.
    """

    new: bool
    signal: str
    part: float | None
    place: float

    @classmethod
    def draw(cls, random: Random) -> Kill:
        """Draw one."""
        name = random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        part = random.uniform(0, 1) if random.random() < 0.5 else None
        return cls(random.random() < 0.3, name, part, random.random())


class Kills:
    """The two destinations, and what an export does when nobody kills it."""

    def __init__(self, exporter: Exporter, folder: Path) -> None:
        """Write both destinations once, and measure that."""
        self._exporter = exporter
        self.overwritten, self.new = folder / "overwritten" / "bundle", folder / "new" / "bundle"
        for output in (self.overwritten, self.new):
            output.parent.mkdir(parents=True)
        self._export_whole(self.overwritten, NAMES[0])
        self._operations = exporter.count_operations(self.overwritten)
        self._seconds = self._measure(self.overwritten)

    def run(self, seed: int, case: int, counts: Counter[str]) -> str | None:
        """Kill one export; what is wrong afterwards."""
        kill = Kill.draw(draw(seed, "kills", case))
        output = self.new if kill.new else self.overwritten
        before = self._describe(output)
        if kill.new and before != "nothing":
            shutil.rmtree(output)
            before = "nothing"
        wanted = NAMES[before == NAMES[0]]
        number = SIGNALS[kill.signal]
        lay_there = _leftovers(output)
        at = 0 if kill.part is not None else 1 + int(kill.place * self._operations)
        process = self._exporter.start(
            wanted, output, lambda: Operations(output.parent, at, kill_self(number)) if at else None
        )
        if kill.part is not None:
            _wait_for_time(process, kill.part * self._seconds)
            with suppress(ProcessLookupError):
                os.kill(process, number)
        status = wait(process)
        counts[f"ended by {kill.signal}" if status in (-number, 128 + number) else f"ended with status {status}"] += 1
        after = self._describe(output)
        counts["new" if kill.new else "overwrite"] += 1
        counts["as before" if after == before else "the new one" if after == wanted else "wrong"] += 1
        wrong = []
        if status not in (0, -number, 128 + number):
            wrong.append(f"status {status} {': '.join(last_words(output))}")
        if after not in (before, wanted):
            wrong.append(f"there was {before}, {wanted} was written, and there is {after}")
        if status == 0 and after != wanted:
            wrong.append(f"the export ended well, and there is {after}")
        left = _leftovers(output)
        if left:
            counts["left something beside it"] += 1
        if len(left) > 1 or (number != signal.SIGKILL and not set(left) <= set(lay_there)):
            wrong.append(f"left: {', '.join(left)}")
        if case % _WHOLE_EVERY == 0:
            status = self._export_whole(output, wanted)
            if status or self._describe(output) != wanted or _leftovers(output):
                wrong.append(f"the next run: status {status}, {self._describe(output)}, left {_leftovers(output)}")
        return f"{kill}: {'; '.join(wrong)}" if wrong else None

    def _describe(self, output: Path) -> str:
        return describe(output, self._exporter.digests, self._exporter.answers)

    def _export_whole(self, output: Path, name: str) -> int:
        return wait(self._exporter.start(name, output))

    def _measure(self, output: Path) -> float:
        """Seconds of processor time."""
        before = os.times()
        self._export_whole(output, NAMES[0])
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system


def run(exporter: Exporter, folder: Path, seed: int, cases: Iterable[int], *, quiet: bool = False) -> Outcome:
    """Run cases of this attack in a folder, with a reader beside them."""
    kills = Kills(exporter, folder)
    reader = start_reader(kills.overwritten, exporter.answers)
    try:
        outcome = run_cases("kills", cases, lambda case, counts: kills.run(seed, case, counts), quiet=quiet)
    finally:
        seen = end_reader(reader)
    for name in NAMES:
        outcome.counts[f"loads that saw {name}"] = seen.pop(name, 0)
    outcome.wrong.extend((-1, f"a reader, {count} times: {what}") for what, count in seen.items())
    return outcome


def _leftovers(output: Path) -> list[str]:
    return sorted(name for name in os.listdir(output.parent) if name.startswith("."))


def _wait_for_time(process: int, seconds: float) -> None:
    """Wait until a process has used so much processor time, or has ended."""
    clock = (~process << 3) | 2  # the clock of another process, see pthread_getcpuclockid(3) and Linux's posix-timers.h
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        try:
            if time.clock_gettime(clock) >= seconds or os.waitid(
                os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT
            ):
                return
        except OSError:
            return
        time.sleep(0.0005)
