"""One call at a time, from whatever thread it comes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import RLock, get_ident
from typing import TypeVar

Result = TypeVar("Result")


class Alone:
    """Whoever calls it waits until nobody else does. What is being called may call it again."""

    def __init__(self, *, own_thread: bool) -> None:
        """Begin with nobody calling.

        Args:
            own_thread: Whether all calls are made by one thread, which takes them over from those that ask.
        """
        self._lock = RLock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="edgepipe") if own_thread else None
        self._ident: int | None = None

    def __call__(self, work: Callable[[], Result]) -> Result:
        """What `work` gives, or raises."""
        if self._thread is not None and get_ident() != self._ident:
            return self._thread.submit(self._done, work).result()
        with self._lock:
            return work()

    def _done(self, work: Callable[[], Result]) -> Result:
        self._ident = get_ident()
        return work()
