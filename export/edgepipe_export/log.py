"""The noise of torch, transformers and the quantizer goes to a log file that an error message points to.

They write through Python's logging, through warnings, through ``sys.stderr`` as it was when they were imported, and
from C++. Only the file descriptors catch all of it, so those are redirected for the whole process while the block runs.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

from edgepipe.errors import EdgepipeError, ExportError


@contextmanager
def logged(doing: Callable[[], str]) -> Iterator[Path]:
    """Send what the block writes to a log file; delete it if the block succeeds or is interrupted.

    Args:
        doing: Says what the block is doing, for the message of an error that is not ours.

    Yields:
        The log's path.

    Raises:
        EdgepipeError: as raised in the block, with the log's path added where the log has something to say.
        ExportError: any other exception of the block; its traceback is in the log.
    """
    descriptor, name = tempfile.mkstemp(prefix="edgepipe-", suffix=".log")
    path = Path(name)
    kept = False
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1) as stream:
            try:
                with _redirected(stream):
                    yield path
            except EdgepipeError as error:
                if path.stat().st_size:
                    kept = True
                    error.args = (f"{error} (log: {path})", *error.args[1:])
                raise
            except Exception as error:
                kept = True
                traceback.print_exc(file=stream)
                raise ExportError(f"{doing()} failed: {_first_line(error)} (log: {path})") from error
    finally:
        if not kept:
            path.unlink(missing_ok=True)


@contextmanager
def _redirected(stream: TextIO) -> Iterator[None]:
    with ExitStack() as stack:
        for number in (1, 2):
            stack.enter_context(_redirected_descriptor(number, stream.fileno()))
        stack.enter_context(redirect_stdout(stream))
        stack.enter_context(redirect_stderr(stream))
        stack.enter_context(warnings.catch_warnings())

        # A test runner or notebook may have put its own function here, which would show or record them.
        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            stream.write(warnings.formatwarning(message, category, filename, lineno, line))

        warnings.showwarning = show
        warnings.simplefilter("default")
        yield


@contextmanager
def _redirected_descriptor(number: int, target: int) -> Iterator[None]:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(ValueError, OSError):  # closed by its owner
                stream.flush()
    try:
        saved = os.dup(number)
    except OSError:  # a process without that descriptor has nothing to silence
        yield
        return
    os.dup2(target, number)
    try:
        yield
    finally:
        os.dup2(saved, number)
        os.close(saved)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
