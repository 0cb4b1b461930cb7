"""What a signal's handler raises within the tokenizer comes out as it is: users have time limits."""

from __future__ import annotations

import signal
import sys

import pytest

from edgepipe.tokenization.tokenizer import Tokenizer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGALRM")


class TimeLimitError(Exception):
    """A user's own."""


def test_a_time_limit_during_a_call(bert: Tokenizer) -> None:
    def stop(*_: object) -> None:
        raise TimeLimitError

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(TimeLimitError):
            bert("a word " * 300_000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
