"""Progress, stage by stage: a bar on a terminal; where standard error is piped, lines, and those only on request."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

from edgepipe_export.output.progress_displays import Display, PlainLines, Stage, StandardErrorCopy, TerminalBar


class Steps:
    """Counts the steps of some work."""

    def __init__(self) -> None:
        self._done = self._total = 0
        self._report: Callable[[int, int], None] | None = None

    @contextmanager
    def report_to(self, progress: Callable[[int, int], None], total: int) -> Iterator[None]:
        """Report every step of the block: how many of `total` are done."""
        self._done, self._total, self._report = 0, total, progress
        try:
            yield
        finally:
            self._report = None

    def count(self, results: Iterable[Any]) -> list[Any]:
        """Collect results, each of which is a step."""
        found = []
        for result in results:
            found.append(result)
            self.tick()
        return found

    def tick(self, steps: int = 1) -> None:
        """Some steps are done."""
        self.reach(self._done + steps)

    def reach(self, done: int) -> None:
        """So many steps are done; what was done before stays done."""
        if self._report is not None and done > self._done:
            self._done = min(done, self._total)
            self._report(self._done, self._total)


class Progress:
    """Shows which stage runs and how far it is; when it is over, how long it took.

    Attributes:
        current: The stage that runs, or ran last; error messages name it.
    """

    def __init__(self, shown: bool | None = None) -> None:
        """Prepare to show stages.

        Args:
            shown: Whether to write; by default only when standard error is a terminal.
        """
        self.current = "start"
        self._number = self._count = 0
        self._stage: Stage | None = None
        self._refreshed = 0.0
        self._display = _open_display() if (_is_terminal() if shown is None else shown) else None
        self._lock = threading.RLock()
        self._over = threading.Event()
        if self._display is not None:
            threading.Thread(target=self._keep_fresh, args=(self._display.interval,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was, and close our copy of standard error."""
        self._over.set()
        with self._lock:
            if self._display is not None:
                self._display.close()
                self._display = None

    def expect(self, stages: int) -> None:
        """So many stages follow; the one that runs does not count."""
        self._count = self._number + stages

    @contextmanager
    def stage(self, name: str, *, undisturbed: bool = False) -> Iterator[None]:
        """Show a stage while the block runs.

        Args:
            name: What it does.
            undisturbed: Whether the block measures time. What is shown changes only with its steps then.
        """
        self.current = name
        self._number += 1
        count = max(self._count, self._number) if self._count else 0
        stage = Stage(name, time.perf_counter(), self._number, count, undisturbed)
        self._stage = stage
        try:
            self._refresh()
            yield
        except BaseException:
            self._stage = None
            self.note(name, "stopped")
            raise
        self._stage = None
        self.note(name, f"{time.perf_counter() - stage.started:6.1f} s")

    def step(self, done: int, total: int) -> None:
        """Show how far a stage is, and about how long it takes still."""
        if self._stage is None:
            return
        self._stage.done, self._stage.total = done, total
        if done == total or self._display is None or time.perf_counter() - self._refreshed >= self._display.interval:
            self._refresh()

    def note(self, name: str, text: str) -> None:
        """Show something that took no time."""
        with self._lock:
            if self._display is not None:
                self._display.show_line(name, text)

    def _refresh(self) -> None:
        with self._lock:
            self._refreshed = time.perf_counter()
            if self._display is not None and self._stage is not None:
                self._display.refresh(self._stage, self._refreshed)

    def _keep_fresh(self, interval: float) -> None:
        """Refresh what is shown while the stage itself is busy for long."""
        while not self._over.wait(interval):
            stage = self._stage
            if stage is not None and not stage.undisturbed:
                self._refresh()


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _open_display() -> Display | None:
    """A bar where standard error is a terminal that can move its cursor, lines elsewhere; None where it is closed."""
    try:
        stream = StandardErrorCopy()
    except OSError:
        return None
    if stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown"):
        with suppress(ImportError):  # rich comes with the extra `export`; lines do without
            return TerminalBar(stream)
    return PlainLines(stream)
