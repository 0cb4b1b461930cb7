"""Interrupts that would be lost: those that arrive while Python is in a callback.

Python runs a signal's handler between any two instructions of the main thread. What the handler raises inside of a weak
reference's callback or of a ``__del__`` has nobody to go to: Python hands it to :func:`sys.unraisablehook` and goes on.
torch has such callbacks called thousands of times while it traces: of 54 interrupts at random times of an export, 3
were lost, and the bundle was written all the same.
"""

from __future__ import annotations

import _thread
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

from edgepipe.errors import Terminated

# Which signal's handler raises what; the command line has SIGTERM raise its own.
_SIGNALS: dict[type[BaseException], int] = {KeyboardInterrupt: signal.SIGINT, Terminated: signal.SIGTERM}

# Seconds after which the signal is sent again: by then the callback is over.
_DELAY = 0.01


@contextmanager
def deliver_interrupts() -> Iterator[None]:
    """Send an interrupt that was lost once more, until it arrives."""
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
        yield
    finally:
        sys.unraisablehook = before
