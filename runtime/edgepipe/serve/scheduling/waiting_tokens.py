"""How much waits for a model: bounded, and with an estimate of how long it takes."""

from __future__ import annotations

import math
from typing import Protocol

from edgepipe.serve.call import RefusedError

# How much of the newest batch's speed goes into the estimate.
_NEWEST = 0.2


class WaitingObserver(Protocol):
    """Is told how much waits."""

    def waiting(self, tokens: int) -> None:
        """So many tokens wait now."""


class WaitingTokens:
    """The tokens that wait for a model; whoever calls holds the lock of its queue.

    Attributes:
        count: How many there are.
    """

    def __init__(self, most: int, threads: int, observer: WaitingObserver) -> None:
        """Begin with none.

        Args:
            most: Beyond so many nobody else is admitted.
            threads: How many work on them side by side.
            observer: Is told.
        """
        self.count = 0
        self._most, self._threads, self._observer = most, threads, observer
        self._rate = 0.0  # tokens a second of one thread; 0 before the first batch

    def admit(self, tokens: int) -> None:
        """Add some. One that comes to an empty queue is admitted however large it is: later it would be refused again.

        Raises:
            RefusedError: too many wait already; it says after how long they are about done.
        """
        if self.count and self.count + tokens > self._most:
            rate = self._rate * self._threads
            later = "ask again later"
            if tokens > self._most:
                later = f"the {tokens} of this request are taken when none wait: send fewer, or raise --max-queue"
            raise RefusedError(
                429,
                f"{self.count} tokens wait already, and the queue holds {self._most}; {later}",
                retry_after=math.ceil(self.count / rate) if rate else 1.0,
            )
        self.leave(-tokens)

    def leave(self, tokens: int) -> None:
        """Some have their turn, or are not wanted any more."""
        self.count -= tokens
        self._observer.waiting(self.count)

    def note_speed(self, tokens: int, seconds: float) -> None:
        """So many tokens took one thread so long."""
        self._rate += (_NEWEST if self._rate else 1.0) * (tokens / max(seconds, 1e-9) - self._rate)
