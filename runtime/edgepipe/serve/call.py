"""A request on its way through the server: who asks, until when, and how urgent it is; and why it was refused."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgepipe.errors import EdgepipeError

# From the most urgent to the least; what says nothing is in the middle.
PRIORITIES = {"high": 0, "normal": 1, "low": 2}

# Ids of requests that a client gives are kept up to so many characters.
_ID_LENGTH = 128


class RefusedError(EdgepipeError):
    """A request that is not answered: too large, too late, too many, or nobody may ask.

    Attributes:
        status: The HTTP status.
        retry_after: Seconds after which it may be tried again; None where that does not help.
    """

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class CancelledCallError(EdgepipeError):
    """The client is gone, so nobody takes the answer."""


@dataclass(eq=False, slots=True)
class Call:
    """One request.

    Attributes:
        request_id: The client's ``x-request-id``, or a new one.
        priority: A value of :data:`PRIORITIES`.
        deadline: By :func:`time.monotonic`, until when the answer is of use; None for ever.
        cancelled: Whether the client is gone.
        cuts: Whether texts that are too long are cut, with a warning; else they are refused.
        cut_side: On which side; None for that of the tokenizer.
        warnings: What is to be said beside the result.
    """

    request_id: str = ""
    priority: int = PRIORITIES["normal"]
    deadline: float | None = None
    cancelled: bool = False
    cuts: bool = True
    cut_side: Literal["left", "right"] | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def check(self) -> None:
        """Check that somebody still waits for the answer.

        Raises:
            CancelledCallError: nobody does.
            RefusedError: the time is over.
        """
        if self.cancelled:
            raise gone_error()
        if self.expired:
            raise late_error()


def gone_error() -> CancelledCallError:
    """The error of a request whose client is gone."""
    return CancelledCallError("the client went away before the answer was there")


def late_error() -> RefusedError:
    """The error of a request that is too late."""
    return RefusedError(504, "the request took longer than it may; ask for less, or give it more time (x-timeout-ms)")


def read_call(headers: Mapping[str, str], seconds: float | None) -> Call:
    """What a request's headers say of it.

    Args:
        headers: By lower-case names: ``x-request-id``, ``x-priority``, ``x-timeout-ms``.
        seconds: The longest that a request may take.

    Raises:
        RefusedError: a header has a value that cannot be used.
    """
    given = headers.get("x-request-id", "")[:_ID_LENGTH]
    priority = headers.get("x-priority", "normal").lower()
    if priority not in PRIORITIES:
        raise RefusedError(400, f"x-priority must be one of {', '.join(PRIORITIES)}, got {priority!r:.40}")
    timeout = headers.get("x-timeout-ms")
    if timeout is not None:
        if not (timeout.isascii() and timeout.isdigit() and 0 < len(timeout) < 12):
            raise RefusedError(400, f"x-timeout-ms must be a whole number of milliseconds, got {timeout!r:.40}")
        asked = int(timeout) / 1000
        seconds = asked if seconds is None else min(asked, seconds)
    deadline = None if seconds is None else time.monotonic() + seconds
    # It goes into a header of the answer and into the log.
    request_id = re.sub("[^ -~]", "?", given) or secrets.token_hex(8)
    return Call(request_id, PRIORITIES[priority], deadline)
