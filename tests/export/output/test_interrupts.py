"""Interrupts that arrive in a callback: Python drops what a signal's handler raises there."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
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


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_what_somebody_catches_is_raised_at_the_end(number: int, error: type[BaseException]) -> None:
    with pytest.raises(error), deliver_interrupts(), suppress(BaseException):
        signal.raise_signal(number)


@pytest.mark.usefixtures("handlers")
def test_an_error_that_a_library_makes_of_it_is_the_interrupt() -> None:
    def trace() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException as interrupt:
            raise RuntimeError("the graph cannot be traced") from interrupt

    with pytest.raises(KeyboardInterrupt), deliver_interrupts():
        trace()


@pytest.mark.usefixtures("handlers")
def test_an_interrupt_can_be_asked_for_before_the_end() -> None:
    done: list[str] = []

    def work() -> None:
        with deliver_interrupts() as interrupts:
            interrupts.raise_lost()
            done.append("before")
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            interrupts.raise_lost()
            done.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["before"]


@pytest.mark.usefixtures("handlers")
def test_handlers_are_what_they_were() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with deliver_interrupts():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_a_process_that_would_end_where_it_is_removes_what_is_half_made_first(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from edgepipe_export.output.atomic_write import write_atomically
from edgepipe_export.output.interrupts import deliver_interrupts
with deliver_interrupts(), write_atomically(Path(sys.argv[1])) as folder:
    (folder / "half").touch()
    os.kill(os.getpid(), signal.SIGTERM)
"""
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=False, timeout=120)
    assert run.returncode == -signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
