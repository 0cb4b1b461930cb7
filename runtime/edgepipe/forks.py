"""Forks beside threads that call: what a child needs is free, whatever other threads did when it was forked.

A fork copies the thread that forks and no other. A lock that another thread held stays held for ever in the child. Of
400 forks beside four threads that called a pipeline, 2 to 20 hung at the child's first call: some in a lock of ours,
some within onnxruntime. So our locks are renewed in a child, and a fork waits until no thread is within an engine.
Between runs engines can be forked: a child lacks their threads, and the calling one does all the work.

An engine's own threads look for more work for a moment after a run, and hold locks then. Of 400 forks beside four
threads that called OpenVINO 11 hung for that. So a fork waits until those threads sleep, too: of 1,000 then none hung.

What a parent loaded is never destroyed in a child: engines wait for their threads then, which a child does not have, so
that a child that ended by ``sys.exit`` never did.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TypeVar

Loaded = TypeVar("Loaded")

# Seconds that a fork waits for the runs of all other threads together; then it is done as it always was.
PATIENCE = 60.0
# Seconds that it then waits for threads to sleep at most, since others than an engine's may compute on and on; and
# between two looks at them. Where a system does not tell, it waits for so many looks.
_REST, _LOOK, _BLIND_LOOKS = 0.2, 0.001, 10
_THREADS = "/proc/self/task"


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
_loaded: weakref.WeakSet[object] = weakref.WeakSet()
_registry = threading.RLock()
_thread_locks: weakref.WeakSet[threading.RLock] = weakref.WeakSet()
_own = _ThreadLock()
# What the fork in progress holds.
_held: list[threading.RLock] = []


def keep_in_children(loaded: Loaded) -> Loaded:
    """What an engine loaded, which has threads: children that are forked later never destroy it."""
    _loaded.add(loaded)
    return loaded


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
    if _thread_locks:
        _wait_for_rest()


def _wait_for_rest() -> None:
    """Wait until no other thread of this process computes, twice in a row."""
    end = time.monotonic() + _REST
    resting = 0
    while resting < 2 and time.monotonic() < end:
        time.sleep(_LOOK)
        try:
            resting = 0 if is_any_running() else resting + 1
        except OSError:  # not Linux
            time.sleep(_LOOK * _BLIND_LOOKS)
            return


def is_any_running() -> bool:
    """Whether another thread of this process computes, or would if a processor were free.

    Raises:
        OSError: the system does not tell.
    """
    own = str(threading.get_native_id())
    for number in os.listdir(_THREADS):
        if number != own:
            try:
                with open(f"{_THREADS}/{number}/stat", encoding="utf-8", errors="replace") as file:
                    state = file.read().rpartition(")")[2].split()[0]
            except OSError:  # it has ended
                continue
            if state == "R":
                return True
    return False


def _go_on() -> None:
    for lock in reversed(_held):
        lock.release()
    _held.clear()


def _go_on_in_child() -> None:
    _go_on()
    for lock in list(_renewed):
        lock.renew()
    if _loaded:
        _hold_forever(_loaded)


def _hold_forever(values: Iterable[object]) -> None:
    """Give each value a reference that nobody gives back, the interpreter's end included."""
    import ctypes

    for value in values:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_wait_for_runs, after_in_parent=_go_on, after_in_child=_go_on_in_child)
