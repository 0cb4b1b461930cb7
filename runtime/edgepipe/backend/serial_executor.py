"""One call at a time, from whatever thread it comes."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, TypeVar

from edgepipe.forks import RenewedLock

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Result = TypeVar("Result")


class SerialExecutor:
    """Runs one call at a time; others wait. A call may make further calls."""

    def __init__(self, *, own_thread: bool) -> None:
        """With `own_thread`, one thread runs all calls; otherwise each runs in the thread it comes from."""
        self._lock = RenewedLock()
        self._pool: ThreadPoolExecutor | None = _start_pool() if own_thread else None
        self._ident: int | None = None

    def run(self, work: Callable[[], Result]) -> Result:
        """What `work` returns, or raises."""
        if self._pool is not None and get_ident() != self._ident:
            return self._pool.submit(self._run_here, work).result()
        with self._lock:
            return work()

    def close(self) -> None:
        """Let the thread end, if there is one; no call may follow."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    def _run_here(self, work: Callable[[], Result]) -> Result:
        self._ident = get_ident()
        return work()


def _start_pool() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # takes milliseconds of a start, and CUDA alone needs it

    return ThreadPoolExecutor(1, thread_name_prefix="edgepipe")
