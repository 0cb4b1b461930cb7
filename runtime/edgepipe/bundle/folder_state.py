"""Whether a folder changed while it was read: what several of its files hold must come from one export."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgepipe.errors import BundleError

Result = TypeVar("Result")

# Of the folder and of each file in it and in the folders in it: name, inode, size in bytes, time of change in ns.
FolderState = tuple[tuple[str, int, int, int], ...]

# How often a folder that changes is read anew, and how many seconds later; each time twice as long.
_ATTEMPTS = 6
_PAUSE = 0.05


def read_folder_state(path: Path) -> FolderState:
    """What tells two states of a folder apart. A file that cannot be looked at is left out; so is a missing folder."""
    found: list[tuple[str, int, int, int]] = []
    _add(found, path, "")
    for entry in _list(path):
        _add(found, Path(entry.path), entry.name)
        for inner in _list(Path(entry.path)):  # none where it is a file
            _add(found, Path(inner.path), f"{entry.name}/{inner.name}")
    return tuple(sorted(found))


def read_unchanged(look: Callable[[], FolderState], read: Callable[[FolderState], Result], path: Path) -> Result:
    """Read a folder until it was the same before and after.

    Args:
        look: The folder's state now.
        read: Reads the folder, which had this state before.
        path: The folder, for the message.

    Raises:
        BundleError: the folder goes on changing; or what `read` raises while nothing changes.
    """
    cause: Exception | None = None
    before = look()
    for attempt in range(_ATTEMPTS):
        try:
            result = read(before)
        except (BundleError, OSError) as error:  # a file may be gone, or belong to another export
            after = look()
            if after == before:
                raise
            cause = error
        else:
            after = look()
            if after == before:
                return result
        before = after
        time.sleep(_PAUSE * 2**attempt)
    raise BundleError(f"{path} changes while it is read; try again when nothing writes to it any more") from cause


def _list(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError:
        return []


def _add(found: list[tuple[str, int, int, int]], path: Path, name: str) -> None:
    try:
        status = path.stat()
    except OSError:
        return
    found.append((name, status.st_ino, status.st_size, status.st_mtime_ns))
