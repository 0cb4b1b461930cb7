"""The folders beside a destination while it is written, and what a killed export left of them.

``.NAME.partial-…`` is written, and locked (``flock``) by its process until that ends, however it ends: one without a
lock was left by a process that was killed. ``.NAME.old-…`` is what was there before, for the moment between two
renames, where the system cannot swap two names. Whoever creates, moves or removes such folders holds a lock of their
parent meanwhile. Where there is no ``flock`` (Windows, and some file systems), nobody can tell who is at work, and what
was left stays.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgepipe.errors import ExportError

try:
    import fcntl
except ImportError:  # Windows
    HAS_LOCKS = False
else:
    HAS_LOCKS = True

PARTIAL, OLD = "partial", "old"

# How many seconds others may hold the parent, and how often they are asked; they need no more than a rename.
_PATIENCE = 10.0
_PAUSE = 0.02


def sibling(output: Path, kind: str) -> Path:
    """A new name beside a destination."""
    return output.with_name(f".{output.name}.{kind}-{secrets.token_hex(4)}")


@contextmanager
def create_partial(output: Path) -> Iterator[Path]:
    """A new folder beside a destination, ours as long as the block lasts; what has its name in the end is removed.

    What killed exports to the same destination left is put back or removed first.

    Raises:
        ExportError: another process writes to that destination.
        OSError: the folder cannot be made.
    """
    folder = sibling(output, PARTIAL)
    lock = None
    try:  # an interrupt may come at any moment
        with hold_parent(output):
            others = recover(output)
            if others:
                raise ExportError(
                    f"another process writes {output} at this moment ({others[0].name} beside it is its work); wait "
                    "until it has ended, or name another directory"
                )
            folder.mkdir()
            lock = _lock(folder)
        yield folder
    finally:
        remove(folder)
        if lock is not None:
            os.close(lock)


def recover(output: Path) -> list[Path]:
    """Put back what was there before a killed export, where it is missing, and remove what nobody works on any more.

    Returns:
        The folders that other processes work on.
    """
    for old in _find(output, OLD):
        if not os.path.lexists(output):
            old.rename(output)
        elif HAS_LOCKS:
            remove(old)
    others = []
    for partial in _find(output, PARTIAL):
        try:
            lock = _lock(partial)
        except BlockingIOError:
            others.append(partial)
            continue
        if lock is not None:
            remove(partial)
            os.close(lock)
    return others


@contextmanager
def hold_parent(output: Path) -> Iterator[None]:
    """Keep other exports from changing such folders beside a destination; where it cannot be locked, hope."""
    lock = None
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            lock = _lock(output.parent)
            break
        except BlockingIOError:
            time.sleep(_PAUSE)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def remove(folder: Path) -> None:
    """Remove what is there; who presses Ctrl-C once more meanwhile does not want to keep the rest."""
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except BaseException as error:
        if not isinstance(error, Exception) and folder.exists():
            shutil.rmtree(folder)
        raise


def _find(output: Path, kind: str) -> list[Path]:
    start = f".{output.name}.{kind}-"
    try:
        names = sorted(name for name in os.listdir(output.parent) if name.startswith(start))
    except OSError:  # a folder that may be written and not read
        return []
    return [output.with_name(name) for name in names if output.with_name(name).is_dir()]


def _lock(folder: Path) -> int | None:
    """A descriptor with the lock of a folder; None where it cannot be locked.

    Raises:
        BlockingIOError: another one has the lock.
    """
    if not HAS_LOCKS:
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
