"""The cases of an attack, one after another: progress, counts, and what went wrong with the command to see it again."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from edgepipe.errors import EdgepipeError

# Seconds after which a process has hung.
LIMIT = 120


@dataclass
class Outcome:
    """What an attack found.

    Attributes:
        name: The attack's.
        counts: How often what happened, by a few words.
        wrong: What went wrong, with the case's number.
        stopped: Whether Ctrl-C ended it.
    """

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[int, str]] = field(default_factory=list)
    stopped: bool = False

    @property
    def cases(self) -> int:
        """How many cases were run."""
        return self.counts["cases"]


def draw(seed: int, name: str, case: int) -> Random:
    """The random numbers of one case: those of others do not depend on them."""
    return Random(f"{name} {seed} {case}")


def run_cases(
    name: str, cases: Iterable[int], run: Callable[[int, Counter[str]], str | None], *, quiet: bool = False
) -> Outcome:
    """Run the cases of an attack, until all are done or Ctrl-C is pressed.

    Args:
        name: The attack's.
        cases: Their numbers.
        run: Runs one, counts what it saw, and returns what went wrong.
        quiet: Whether to show no progress.
    """
    outcome = Outcome(name)
    begin = shown = time.monotonic()
    try:
        for case in cases:
            wrong = run(case, outcome.counts)
            outcome.counts["cases"] += 1
            if wrong is not None:
                outcome.wrong.append((case, wrong))
                print(f"  {name}: case {case}: {wrong}", file=sys.stderr, flush=True)
            if not quiet and time.monotonic() - shown > 5:
                shown = time.monotonic()
                took = f"{shown - begin:.0f} s"
                print(f"  {name}: {outcome.cases} cases in {took}, {len(outcome.wrong)} wrong", file=sys.stderr)
    except KeyboardInterrupt:
        outcome.stopped = True
    return outcome


def report(outcome: Outcome, command: str) -> None:
    """Print the counts of an attack, and the command that runs each case again that went wrong."""
    more = ", ".join(f"{count} {what}" for what, count in sorted(outcome.counts.items()) if what != "cases")
    end = " (stopped)" if outcome.stopped else ""
    print(f"{outcome.name}: {outcome.cases} cases, {len(outcome.wrong)} wrong{end}{f': {more}' if more else ''}")
    for case, wrong in outcome.wrong:
        print(f"  case {case}: {wrong}\n    again: {command} --only {outcome.name} --case {case}")
    sys.stdout.flush()


def wait(process: int) -> int:
    """The exit status of a process; one that hangs is killed, and has -SIGALRM."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return -signal.SIGALRM


def run_in_child(work: Callable[[], object], words: Path) -> str:
    """Do something in a forked process, which stays quiet; the error that ended it, or nothing.

    Args:
        work: What to do.
        words: A file for the error.
    """
    words.unlink(missing_ok=True)
    process = os.fork()
    if process == 0:
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - a forked process must not go on with its parent's program
            words.write_text(f"{'' if isinstance(error, EdgepipeError) else 'raw: '}{error!r}")
            os._exit(1)
    status = wait(process)
    said = words.read_text() if words.is_file() else "raw: it said nothing"
    return "" if status == 0 else f"{said} (status {status})"
