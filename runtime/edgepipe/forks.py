"""Forks beside threads that call: what a child needs is free, whatever other threads did when it was forked.

A fork copies the thread that forks and no other. A lock that another thread held stays held for ever in the child. Of
400 forks beside four threads that called a pipeline, 2 to 20 hung at the child's first call: some in a lock of ours,
some within onnxruntime. So our locks are renewed in a child, and a fork waits until no thread is within an engine.
Between runs engines can be forked: a child lacks their threads, and the calling one does all the work.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextlib import AbstractContextManager

# Seconds that a fork waits for the runs of all other threads together; then it is done as it always was.
PATIENCE = 60.0


class RenewedLock:
    """A lock that one thread may take several times; in a forked child it is free, unless the forking thread has it.

    For what is consistent wherever another thread was interrupted.
    """

    def __init__(self) -> None:
        """Free."""
        self._lock = threading.RLock()
        _renewed.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Be free, where another thread had the lock."""
        if not self._lock._is_owned():  # type: ignore[attr-defined]  # as threading.Condition asks
            self._lock = threading.RLock()


class _ThreadLock(threading.local):
    """The lock of the thread that asks: it holds it while it is within an engine."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        with _registry:
            _thread_locks.add(self.lock)


_renewed: weakref.WeakSet[RenewedLock] = weakref.WeakSet()
_registry = threading.RLock()
_thread_locks: weakref.WeakSet[threading.RLock] = weakref.WeakSet()
_own = _ThreadLock()
# What the fork in progress holds.
_held: list[threading.RLock] = []


def within_engine() -> AbstractContextManager[object]:
    """What a thread enters while it is within an engine, so that no fork comes then; it may do so several times."""
    return _own.lock


def _wait_for_runs() -> None:
    end = time.monotonic() + PATIENCE
    if not _registry.acquire(timeout=PATIENCE):
        return
    held: list[threading.RLock] = [_registry]
    for lock in list(_thread_locks):
        if lock.acquire(timeout=max(0.0, end - time.monotonic())):
            held.append(lock)  # noqa: PERF401
    _held[:] = held


def _go_on() -> None:
    for lock in reversed(_held):
        lock.release()
    _held.clear()


def _go_on_in_child() -> None:
    _go_on()
    for lock in list(_renewed):
        lock.renew()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_wait_for_runs, after_in_parent=_go_on, after_in_child=_go_on_in_child)
