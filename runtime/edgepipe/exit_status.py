"""How the ``edgepipe`` command ends.

Exit status: 0; 1 when the work failed, with one clear line on stderr; 2 for wrong usage; 130 when interrupted, 143 when
told to end.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import click

from edgepipe.errors import EdgepipeError


class Terminated(BaseException):
    """The system wants the process to end: as with an interrupt, what is half written is removed on the way out."""


def leave_after(work: Callable[[], Any]) -> NoReturn:
    """Run a command and leave with its exit status; warnings are a line each."""
    signal.signal(signal.SIGTERM, _terminate)
    warnings.showwarning = lambda message, *_: click.echo(f"Warning: {message}", err=True)
    try:
        work()
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as usage:
        usage.show()
        sys.exit(usage.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except Terminated:
        click.echo("terminated", err=True)
        sys.exit(143)
    except EdgepipeError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output went away, e.g. `| head`
        _forget_output()
        sys.exit(0)
    except OSError as error:  # what nothing else explains: a full disk behind our output, a folder that may not be read
        _forget_output()
        place = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {place}{error.strerror or error}", err=True)
        sys.exit(1)
    sys.exit(0)


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def _forget_output() -> None:
    """Have what is not written yet go nowhere, so that Python does not fail once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
