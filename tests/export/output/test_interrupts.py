"""Interrupts that arrive in a callback: Python drops what a signal's handler raises there."""

from __future__ import annotations

import signal
import sys
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from edgepipe.errors import Terminated
from edgepipe_export.output.interrupts import deliver_interrupts


class Thing:
    """Something that can be referred to weakly."""


def terminate(*_: object) -> None:
    raise Terminated


@pytest.fixture
def handlers() -> Iterator[None]:
    """Those of the command line; what a shell starts in the background ignores interrupts."""
    before = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: terminate}
    before = {number: signal.signal(number, handler) for number, handler in before.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def lose(number: int) -> None:
    """Have a signal arrive in a weak reference's callback."""
    thing = Thing()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(number))
    del thing
    assert reference() is None


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_what_arrives_in_a_callback_is_not_lost(number: int, error: type[BaseException]) -> None:
    def work() -> None:
        lose(number)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            time.sleep(0.01)

    with pytest.raises(error), deliver_interrupts():
        work()


@pytest.mark.usefixtures("handlers")
def test_other_errors_of_callbacks_go_where_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: told.append(lost.exc_type))
    own = sys.unraisablehook
    with deliver_interrupts():
        thing = Thing()
        reference = weakref.ref(thing, lambda _: [][0])
        del thing
    assert reference() is None
    assert told == [IndexError]
    assert sys.unraisablehook is own
