"""Something goes wrong in this process at its n-th operation on files: it is killed, or the system refuses.

An operation is what Python announces to an audit hook (PEP 578): files that are opened, folders that are made or
listed, names that are changed or removed, locks, and the look-up of the function that swaps two names; beside them
``os.fsync``. Only those on paths below one folder count, so the count is the same in every run. What C++ or Rust
writes is not announced; the kills at random times and the disks that are really full are for that.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Of which argument each event's path is; None where an event has none, and counts all the same.
_EVENTS: dict[str, int | None] = {
    "open": 0,
    "os.mkdir": 0,
    "os.rename": 0,
    "os.remove": 0,
    "os.rmdir": 0,
    "os.listdir": 0,
    "os.scandir": 0,
    "os.utime": 0,
    "os.chmod": 0,
    "os.truncate": 0,
    "shutil.rmtree": 0,
    "ctypes.dlopen": None,
    "ctypes.dlsym": None,
    "fcntl.flock": None,
}
# Those that a full or failing disk may refuse.
WRITES = ("open", "os.mkdir", "os.rename", "os.fsync")

ERRORS = {name: getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EIO", "EROFS")}


class Operations:
    """Counts operations on files below a folder, and calls `strike` at one of them, before it is done.

    Args:
        folder: The folder.
        at: At which operation, counted from 1; 0 for none.
        strike: What happens then, with the path of the operation.
        only_writes: Whether only what writes counts (`WRITES`, and of files only those opened for writing).
    """

    def __init__(
        self, folder: Path, at: int = 0, strike: Callable[[str], None] = lambda _: None, *, only_writes: bool = False
    ) -> None:
        self.count = 0
        self._folder = os.fspath(folder)
        self._at = at
        self._strike = strike
        self._only_writes = only_writes
        self._busy = False
        self._fsync = os.fsync
        os.fsync = self._sync  # type: ignore[assignment]
        sys.addaudithook(self._notice)

    def stop(self) -> None:
        """Count no more."""
        self._busy = True

    def _sync(self, descriptor: int) -> None:
        self._happen("os.fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
        self._fsync(descriptor)

    def _notice(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._busy or event not in _EVENTS:
            return
        if self._only_writes and event not in WRITES:
            return
        place = _EVENTS[event]
        path = "" if place is None else arguments[place]
        if not isinstance(path, (str, os.PathLike)):
            return
        if self._only_writes and event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        self._happen(event, os.fspath(path))

    def _happen(self, event: str, path: str) -> None:
        if self._busy or (_EVENTS.get(event, 0) is not None and not path.startswith(self._folder)):
            return
        self.count += 1
        if self.count == self._at:
            self._busy = True
            try:
                self._strike(path)
            finally:
                self._busy = False


def kill_self(number: int) -> Callable[[str], None]:
    """Send this process a signal."""

    def strike(_: str) -> None:
        os.kill(os.getpid(), number)

    return strike


def refuse(name: str) -> Callable[[str], None]:
    """Have the system refuse an operation, with one of `ERRORS`."""

    def strike(path: str) -> None:
        raise OSError(ERRORS[name], os.strerror(ERRORS[name]), path)

    return strike


SIGNALS = {name: getattr(signal, name) for name in ("SIGKILL", "SIGTERM", "SIGINT")}
