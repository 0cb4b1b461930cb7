"""What is kept on disk between runs: its folder, and which records go when there are too many.

Several processes may work in the folder at once. A record is a file, or a folder of files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def cache_folder() -> Path | None:
    """The folder of what is kept between runs: what ``EDGEPIPE_CACHE`` says, or the one that the system has for that.

    Returns:
        None where nothing is to be kept: the variable is empty, or there is no home.
    """
    named = os.environ.get("EDGEPIPE_CACHE")
    if named is not None:
        return Path(named).absolute() if named else None
    try:
        return _system_cache_folder() / "edgepipe"
    except RuntimeError:  # no home
        return None


def _system_cache_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else Path.home() / ".cache"  # the XDG base directory specification


def make_private_folder(path: Path) -> None:
    """Make a folder in the folder for caches: measurements come with texts of the data, nobody else's to read.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def mark_used(record: Path) -> None:
    """Have a record be the last one used."""
    with suppress(OSError):
        os.utime(record)


def remove_record(record: Path) -> None:
    """Remove a record, if it is there and may be removed."""
    if record.is_dir():
        import shutil  # it brings what reads archives, and records are seldom removed

        shutil.rmtree(record, ignore_errors=True)
    else:
        with suppress(OSError):
            record.unlink()


def prune_records(records: Iterable[Path], limit: int) -> list[Path]:
    """Remove the least recently used records until all together have no more than `limit` bytes.

    Returns:
        What was removed.
    """
    known = [found for record in records if (found := _used_and_size(record)) is not None]
    total = sum(size for _, size, _ in known)
    removed = []
    for _, size, record in sorted(known):
        if total <= limit:
            break
        remove_record(record)
        removed.append(record)
        total -= size
    return removed


def _used_and_size(record: Path) -> tuple[float, int, Path] | None:
    try:
        files = [*record.iterdir()] if record.is_dir() else [record]
        return record.stat().st_mtime, sum(file.stat().st_size for file in files), record
    except OSError:  # another process removed it
        return None
