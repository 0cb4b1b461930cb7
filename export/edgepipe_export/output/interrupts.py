"""Interrupts that would be lost: those that arrive while Python is in a callback, and those that a library catches.

Python runs a signal's handler between any two instructions of the main thread. What the handler raises inside of a weak
reference's callback or of a ``__del__`` has nobody to go to: Python hands it to :func:`sys.unraisablehook` and goes on.
torch has such callbacks called thousands of times while it traces: of 54 interrupts at random times of an export, 3
were lost, and the bundle was written all the same. A library may also catch it, or make another error of it.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from types import FrameType
from typing import Any, NoReturn

from edgepipe.errors import Terminated

# Which signal's handler raises what; the command line has SIGTERM raise its own.
_SIGNALS: dict[type[BaseException], int] = {KeyboardInterrupt: signal.SIGINT, Terminated: signal.SIGTERM}

# Seconds after which the signal is sent again: by then the callback is over.
_DELAY = 0.01


class Interrupts:
    """The signals that arrived, and what they raise."""

    def __init__(self) -> None:
        """None so far."""
        self._raising: Callable[[], object] | None = None

    def raise_lost(self) -> None:
        """Raise an interrupt that arrived, and that somebody kept from ending the work.

        Raises:
            BaseException: what the signal's handler raises.
        """
        if self._raising is not None:
            self._raising()

    def watch(self, handler: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        """A handler that does the same, and notes that the signal arrived."""

        def note(number: int, frame: FrameType | None) -> None:
            self._raising = lambda: handler(number, frame)
            handler(number, frame)

        return note


@contextmanager
def deliver_interrupts() -> Iterator[Interrupts]:
    """Have an interrupt end the block: one that was lost is sent once more, one that was caught is raised at the end.

    SIGTERM, which by default ends a process where it is, ends the block as an interrupt does, and then the process.

    Raises:
        BaseException: what the handler of a signal raises.
    """
    interrupts = Interrupts()
    before = sys.unraisablehook

    def send_again(lost: Any) -> None:
        number = _SIGNALS.get(lost.exc_type)
        if number is None:
            before(lost)
            return
        again = Timer(_DELAY, _thread.interrupt_main, (number,))
        again.daemon = True
        again.start()

    sys.unraisablehook = send_again
    try:
        with _handlers(interrupts):
            try:
                yield interrupts
            except Exception:  # perhaps what a library made of the interrupt
                interrupts.raise_lost()
                raise
            interrupts.raise_lost()
    finally:
        sys.unraisablehook = before


@contextmanager
def _handlers(interrupts: Interrupts) -> Iterator[None]:
    """Have the handlers note what arrives; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = {number: signal.getsignal(number) for number in _SIGNALS.values()}
    ends = own[signal.SIGTERM] is signal.SIG_DFL
    for number, handler in own.items():
        if callable(handler):
            signal.signal(number, interrupts.watch(handler))
        elif number == signal.SIGTERM and ends:
            signal.signal(number, interrupts.watch(_terminate))
    try:
        yield
    except Terminated:
        if ends:  # what is half made is gone
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        raise
    finally:
        for number, handler in own.items():
            signal.signal(number, handler)


def _terminate(*_: object) -> NoReturn:
    raise Terminated
