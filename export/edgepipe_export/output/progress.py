"""Progress on a terminal, stage by stage; silent when standard error is piped."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TextIO

# Covers what a longer line may have left behind.
_BLANK = " " * 24

# Seconds between two lines about one stage.
_INTERVAL = 0.1


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
    """Writes one line a stage: its name while it runs, its duration when it is done.

    Attributes:
        current: The stage that runs, or ran last; error messages name it.
    """

    def __init__(self, shown: bool | None = None) -> None:
        """Prepare to show stages.

        Args:
            shown: Whether to write; by default only when standard error is a terminal.
        """
        self.current = "start"
        self._start = time.perf_counter()
        self._shown = 0.0
        self._stream = _own_stderr() if (_is_terminal() if shown is None else shown) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close our copy of standard error."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show a stage while the block runs."""
        self.current = name
        self._start = start = time.perf_counter()
        self._write(f"  {name:<24} …")
        try:
            yield
        except BaseException:
            self._write(f"\r  {name:<24} stopped{_BLANK}\n")
            raise
        self._write(f"\r  {name:<24} {time.perf_counter() - start:6.1f} s{_BLANK}\n")

    def step(self, done: int, total: int) -> None:
        """Show how far a stage is, and about how long it takes still."""
        now = time.perf_counter()
        if done < total and now - self._shown < _INTERVAL:
            return
        self._shown = now
        elapsed = now - self._start
        left = elapsed / done * (total - done) if done else 0.0
        self._write(f"\r  {self.current:<24} {done} of {total}, {left:.0f} s left …")

    def note(self, name: str, text: str) -> None:
        """Show something that took no time."""
        self._write(f"  {name:<24} {text}\n")

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _own_stderr() -> TextIO:
    # A copy of the descriptor: standard error itself goes to the log while an export runs.
    return os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding or "utf-8", errors="replace")
