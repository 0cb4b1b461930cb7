"""How the ``edgepipe`` command ends.

Exit status: 0; 1 when the work failed, with one clear line on stderr; 2 for wrong usage; 130 when interrupted, 143 when
told to end.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from edgepipe.errors import EdgepipeError, Terminated, escape_controls


class _ReaderGone(BaseException):
    """Nobody reads our output any more, e.g. after ``| head``: no failure, while click ends with 1 for it."""


class Commands(click.Group):
    """Commands whose output may lose its reader."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """As click's; here it writes help."""
        with _notice_lost_reader():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's."""
        with _notice_lost_reader():
            return super().invoke(ctx)


@contextmanager
def _notice_lost_reader() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGone from error


def run_and_exit(work: Callable[[], Any]) -> NoReturn:
    """Run a command and leave with its exit status; warnings are a line each.

    Args:
        work: Runs the command; outside of its standalone mode click returns the status that a command ends with.
    """
    signal.signal(signal.SIGTERM, _terminate)
    warnings.showwarning = lambda message, *_: click.echo(f"Warning: {escape_controls(str(message))}", err=True)
    status = 0
    try:
        _prepare_streams()
        returned = work()
        status = returned if isinstance(returned, int) else 0
        _end_at_signals()
    except click.exceptions.Exit as leave:
        status = leave.exit_code
    except click.ClickException as usage:
        usage.show()
        status = usage.exit_code
    except (KeyboardInterrupt, click.Abort):
        _end_at_signals()
        click.echo("interrupted", err=True)
        status = 130
    except Terminated:
        _end_at_signals()
        click.echo("terminated", err=True)
        status = 143
    except EdgepipeError as error:
        click.echo(f"Error: {error}", err=True)
        status = 1
    except _ReaderGone:
        _discard_output()
    except OSError as error:  # what nothing else explains: a full disk behind our output, a folder that may not be read
        _discard_output()
        place = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {escape_controls(place)}{error.strerror or error}", err=True)
        status = 1
    sys.exit(status)


def _end_at_signals() -> None:
    """Have a signal end the process at once, as the system does it (for a shell 130 and 143).

    Python takes a while to end, and what a handler raises in that time changes no exit status.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _prepare_streams() -> None:
    """Have streams that were closed (`<&-`), or cannot write every character, behave like any other.

    Raises:
        OSError: standard output is closed.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    if isinstance(sys.stdout, io.TextIOWrapper):  # results hold what texts hold, whatever a terminal's encoding
        sys.stdout.reconfigure(errors="backslashreplace")


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def _discard_output() -> None:
    """Have what is not written yet go nowhere, so that Python does not fail once more at the end."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
