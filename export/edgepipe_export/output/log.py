"""The noise of torch, transformers and the quantizer goes to a log file that an error message points to.

They write through Python's logging, through warnings, through ``sys.stderr`` as it was when they were imported, and
from C++. Only the file descriptors catch all of it, so those are redirected for the whole process while the block runs.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from edgepipe.errors import EdgepipeError, ExportError, first_line


@contextmanager
def log_to_file(doing: Callable[[], str]) -> Iterator[Path]:
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
    keep = False
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1) as stream:
            try:
                with _redirect(stream):
                    yield path
            except EdgepipeError as error:
                if path.stat().st_size:
                    keep = True
                    message = f"{error} (log: {path})"
                    error.args = (message, *error.args[1:])
                    if isinstance(error, ImportError):
                        error.msg = message
                raise
            except Exception as error:
                keep = True
                traceback.print_exc(file=stream)
                kind, line = type(error).__name__, first_line(error)
                what = kind if line == kind else f"{kind}: {line}"
                raise ExportError(f"{doing()} failed: {what} (log: {path})") from error
    finally:
        if not keep:
            path.unlink(missing_ok=True)


class _Switch(io.TextIOBase):
    """Stands in for a standard stream: writes to the log, and to the stream itself once the block is over.

    What is imported in the block may keep it: transformers' log handler does.
    """

    def __init__(self, log: TextIO, own: TextIO | None) -> None:
        self._own = own
        self._target: TextIO | None = log

    def restore(self) -> None:
        self._target = self._own

    def write(self, text: str, /) -> int:
        return len(text) if self._target is None else self._target.write(text)

    def flush(self) -> None:
        if self._target is not None:
            self._target.flush()

    def isatty(self) -> bool:
        return self._target is not None and self._target.isatty()

    def fileno(self) -> int:
        if self._target is None:
            raise io.UnsupportedOperation("fileno")
        return self._target.fileno()

    def writable(self) -> bool:
        return True


@contextmanager
def _redirect(stream: TextIO) -> Iterator[None]:
    with ExitStack() as stack:
        for number in (1, 2):
            stack.enter_context(_redirect_descriptor(number, stream.fileno()))
        for name in ("stdout", "stderr"):
            own = getattr(sys, name)
            switch = _Switch(stream, own)
            stack.callback(switch.restore)
            stack.enter_context(_move_handlers(own, switch))
            setattr(sys, name, switch)
            stack.callback(setattr, sys, name, own)
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
def _move_handlers(own: TextIO | None, switch: _Switch) -> Iterator[None]:
    """Have log handlers that hold a standard stream write to the log; in a notebook it has no descriptor of its own."""
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    moved = [
        handler
        for logger in loggers
        for handler in getattr(logger, "handlers", ())  # a placeholder in the tree of loggers has none
        if isinstance(handler, logging.StreamHandler)
        and handler.stream is own
        # Logging's last resort, which dill takes as its own, looks the standard stream up at every record.
        and not isinstance(handler, type(logging.lastResort))
    ]
    for handler in moved:
        handler.setStream(switch)
    try:
        yield
    finally:
        for handler in moved:
            handler.setStream(own)


@contextmanager
def _redirect_descriptor(number: int, target: int) -> Iterator[None]:
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
