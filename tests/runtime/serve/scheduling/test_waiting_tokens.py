"""How much may wait, and how long it takes."""

from __future__ import annotations

import pytest

from edgepipe.serve.call import RefusedError
from edgepipe.serve.scheduling.waiting_tokens import WaitingTokens


class Told:
    def __init__(self) -> None:
        self.counts: list[int] = []

    def waiting(self, tokens: int) -> None:
        self.counts.append(tokens)


def test_it_is_bounded_and_says_when_to_come_again() -> None:
    told = Told()
    waiting = WaitingTokens(100, 2, told)
    waiting.admit(90)
    with pytest.raises(RefusedError, match="90 tokens wait already, and the queue holds 100") as refused:
        waiting.admit(11)
    assert refused.value.retry_after == 1
    waiting.note_speed(10, 1.0)
    with pytest.raises(RefusedError) as refused:
        waiting.admit(11)
    assert refused.value.retry_after == 5  # 90 tokens, 2 threads, 10 a second each
    waiting.admit(10)
    waiting.leave(100)
    assert told.counts == [90, 100, 0]


def test_an_empty_queue_takes_anything() -> None:
    waiting = WaitingTokens(100, 1, Told())
    waiting.admit(500)
    assert waiting.count == 500
    with pytest.raises(RefusedError, match="ask again later"):
        waiting.admit(1)
    with pytest.raises(RefusedError, match="the 101 of this request are taken when none wait: send fewer, or raise"):
        waiting.admit(101)
