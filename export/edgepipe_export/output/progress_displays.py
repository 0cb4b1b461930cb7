"""How the stages of an export are shown: a bar on a terminal, lines of text elsewhere."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from edgepipe.text_table import terminal_width

if TYPE_CHECKING:
    from rich.text import Text

# Columns of a stage's name.
_NAME = 24

# Columns of the bar: with fewer it is left out, and it is never longer.
_SHORTEST_BAR, _LONGEST_BAR = 8, 40

# Columns of a terminal that does not say how many it has.
_USUAL_WIDTH = 80


@dataclass(slots=True)
class Stage:
    """A stage that runs.

    Attributes:
        name: What it does, in a word or two.
        started: When it began, in seconds.
        number: Which stage it is, from 1.
        count: How many stages there are; 0 where that is not known.
        undisturbed: Whether it measures time, and is left alone between its steps.
        done: How many of its steps are done.
        total: How many steps it has; 0 where that is not known.
    """

    name: str
    started: float
    number: int = 1
    count: int = 0
    undisturbed: bool = False
    done: int = 0
    total: int = 0

    def describe(self, now: float) -> str:
        """How far it is, and about how long it takes still; where its steps are not counted, how long it has taken."""
        elapsed = now - self.started
        if not self.total:
            return format_duration(elapsed)
        if not self.done:
            return f"0 of {self.total}, {format_duration(elapsed)}"
        left = elapsed / self.done * (self.total - self.done)
        return f"{self.done} of {self.total}, {format_duration(left)} left"

    def place(self) -> str:
        """Its place among the stages; empty where their number is not known."""
        return f"stage {self.number} of {self.count}" if self.count else ""


def format_duration(seconds: float) -> str:
    """Seconds in the largest units that matter, e.g. ``4 s``, ``2 min 5 s``, ``1 h 3 min``."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


class Display(Protocol):
    """Shows stages.

    Attributes:
        interval: Seconds between two calls of `refresh`, if nothing else is to be shown.
    """

    interval: float

    def refresh(self, stage: Stage, now: float) -> None:
        """Show how far a stage is."""
        ...

    def show_line(self, name: str, text: str) -> None:
        """Show a line that stays: what a stage came to, or a note."""
        ...

    def close(self) -> None:
        """Nothing more is shown."""
        ...


class StandardErrorCopy(io.TextIOWrapper):
    """Standard error as it was: while an export runs, the descriptor itself leads to the log.

    What cannot be written, as nobody reads it any more or a disk is full, is dropped: an export goes on without.
    """

    def __init__(self) -> None:
        """Copy the descriptor.

        Raises:
            OSError: standard error is closed.
        """
        if sys.stderr is None:
            raise OSError("standard error is closed")
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        super().__init__(open(os.dup(2), "wb"), encoding=encoding, errors="replace")  # noqa: SIM115

    def write(self, text: str, /) -> int:
        """As any stream's."""
        with suppress(OSError, ValueError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        """As any stream's."""
        with suppress(OSError, ValueError):
            super().flush()

    def close(self) -> None:
        """As any stream's."""
        with suppress(OSError, ValueError):
            super().close()


class PlainLines:
    """A line for each stage once it is over, and lines in between while it takes long: nobody waits in silence."""

    # The lines themselves come less often, see `_pause`.
    interval = 1.0

    def __init__(self, stream: StandardErrorCopy) -> None:
        """Prepare to write to `stream`, which is closed in the end."""
        self._stream = stream
        self._stage: Stage | None = None
        self._due = 0.0

    def refresh(self, stage: Stage, now: float) -> None:
        """See :class:`Display`."""
        if stage is not self._stage:
            self._stage = stage
            self._due = stage.started + _pause(0)
        if now >= self._due:
            self._due = now + _pause(now - stage.started)
            place = stage.place()
            self.show_line(stage.name, f"{stage.describe(now)} ({place})" if place else stage.describe(now))

    def show_line(self, name: str, text: str) -> None:
        """See :class:`Display`."""
        self._stream.write(f"  {name:<{_NAME}} {text}\n")
        self._stream.flush()

    def close(self) -> None:
        """See :class:`Display`."""
        self._stream.close()


def _pause(elapsed: float) -> float:
    """Seconds until the next line of a stage: 5, and up to 30 where it takes minutes."""
    return min(30.0, max(5.0, elapsed / 10))


class TerminalBar:
    """One line at the end of the terminal's text, with a bar, that changes in place; what stays is above it."""

    interval = 0.2

    def __init__(self, stream: StandardErrorCopy) -> None:
        """Prepare to write to a terminal.

        Raises:
            ImportError: rich is not installed.
        """
        from rich.console import Console
        from rich.live import Live

        self._stream = stream
        self._stage: Stage | None = None
        self._widest = 0
        self._console = Console(
            file=stream, force_terminal=True, force_interactive=True, force_jupyter=False, highlight=False, markup=False
        )
        # Standard output and error lead to the log, and our own thread refreshes.
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )

    def refresh(self, stage: Stage, now: float) -> None:
        """See :class:`Display`."""
        if stage is not self._stage:
            self._stage, self._widest = stage, 0
        state = stage.describe(now)
        self._widest = max(self._widest, len(state))  # so that the bar does not jump with every figure
        self._live.start()
        self._live.update(_draw(stage, now, state.rjust(self._widest), self._fit()), refresh=True)

    def show_line(self, name: str, text: str) -> None:
        """See :class:`Display`."""
        from rich.text import Text

        self._fit()
        self._live.update("", refresh=self._live.is_started)
        self._console.print(Text(f"  {name:<{_NAME}} {text}"))

    def close(self) -> None:
        """See :class:`Display`."""
        self._live.update("")
        self._live.stop()
        self._stream.close()

    def _fit(self) -> int:
        # rich looks at descriptors 0 to 2, of which two lead to the log.
        width = terminal_width(self._stream) or _USUAL_WIDTH
        self._console.width = width
        return width


def _draw(stage: Stage, now: float, state: str, width: int) -> Any:
    """A stage as one line of at most `width` columns: its name, a bar, its state, its place.

    Where there is little room the place goes first, then the blanks behind the name, and the bar last.
    """
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    place = stage.place()
    longer = f"{state} ({place})" if place else state
    for name, text in ((f"{stage.name:<{_NAME}}", longer), (f"{stage.name:<{_NAME}}", state), (stage.name, state)):
        room = width - len(f"  {name}   {text}") - 1  # the last column stays free: some terminals break the line there
        if room >= _SHORTEST_BAR:
            break
    else:
        return _crop(f"  {stage.name}  {state.lstrip()}", width - 1)
    bar = ProgressBar(
        total=stage.total or None, completed=stage.done, width=min(room, _LONGEST_BAR), animation_time=now
    )
    line = Table.grid()
    line.add_row(f"  {name} ", bar, f"  {text}")
    return line


def _crop(text: str, width: int) -> Text:
    from rich.text import Text

    line = Text(text, no_wrap=True)
    line.truncate(max(1, width), overflow="ellipsis")
    return line
