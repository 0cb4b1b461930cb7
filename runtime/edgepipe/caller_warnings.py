"""Warnings for whoever called: at the line that called this package, or collected for one of several requests.

Python's own way to collect warnings, :func:`warnings.catch_warnings`, changes what all threads do with them. A server
answers many requests at once, and each is to get its own. So what a request warns of goes into a list that is a context
variable: asyncio's tasks and the threads of :func:`asyncio.to_thread` have that of whoever started them.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


def warn(message: str) -> None:
    """Tell the caller of this package something: by :mod:`warnings`, or in the list that collects.

    Args:
        message: What may be wrong, and what to do.
    """
    collected = _collected.get()
    if collected is None:
        warnings.warn(message, stacklevel=_level_of_caller())
    else:
        collected.append(message)


@contextmanager
def collect_warnings(messages: list[str]) -> Iterator[None]:
    """Within the block, and in what is started there, warnings go to the end of a list, and nowhere else."""
    token = _collected.set(messages)
    try:
        yield
    finally:
        _collected.reset(token)


def _level_of_caller() -> int:
    """The `stacklevel`, seen from the function that warns, of the first frame outside this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("edgepipe."):
        level, frame = level + 1, frame.f_back
    return level
