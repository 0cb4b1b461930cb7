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
    _add(found, os.fspath(path), "")
    for entry in _list(os.fspath(path)):
        _add(found, entry.path, entry.name)
        for inner in _list(entry.path) if _is_folder(entry) else ():
            _add(found, inner.path, f"{entry.name}/{inner.name}")
    return tuple(sorted(found))


def read_unchanged(read: Callable[[FolderState], Result], path: Path) -> Result:
    """Read a folder until it was the same before and after.

    Args:
        read: Reads the folder, which had this state before.
        path: The folder.

    Raises:
        BundleError: the folder goes on changing; or what `read` raises while nothing changes.
    """
    cause: Exception | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE * 2 ** (attempt - 1))
        before = read_folder_state(path)
        try:
            result = read(before)
        except (BundleError, OSError) as error:  # a file may be gone, or belong to another export
            if read_folder_state(path) == before:
                raise
            cause = error
        else:
            if read_folder_state(path) == before:
                return result
    raise BundleError(f"{path} changes while it is read; try again when nothing writes to it any more") from cause


def _list(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _add(found: list[tuple[str, int, int, int]], path: str, name: str) -> None:
    try:
        status = os.stat(path)
    except OSError:
        return
    found.append((name, status.st_ino, status.st_size, status.st_mtime_ns))
