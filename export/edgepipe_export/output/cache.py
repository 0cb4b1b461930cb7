"""What was measured and made before, kept on disk: work that was interrupted, or is done again, goes on where it was.

A record is found by a digest of all that decides it (:mod:`edgepipe_export.output.fingerprint`), and believed only if
it is whole:
one that was cut off or altered is made again. Records are written beside their place and renamed into it, so several
processes can work at once. What was not used for longest goes first when there is too much.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from edgepipe.bundle.integrity import sha256
from edgepipe.errors import BundleError

# Names the folder; an empty value keeps nothing.
VARIABLE = "EDGEPIPE_CACHE"

# Bytes that may be kept. Figures are a few kilobytes each; graphs are what fills it.
LIMIT = 4 * 2**30

# Seconds of work that a graph must have cost to be kept.
_WORTH_KEEPING = 5.0

_RECORD = "record.json"

_Value = TypeVar("_Value")


def cache_folder() -> Path | None:
    """The folder of all records: what :data:`VARIABLE` says, or the one that the system has for such things.

    Returns:
        None where nothing is to be kept.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named).absolute() if named else None
    try:
        return _own_folder() / "edgepipe"
    except RuntimeError:  # no home
        return None


def _own_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else Path.home() / ".cache"  # the XDG base directory specification


class Kept:
    """The records that go with one basis.

    Attributes:
        folder: Where they are; None where nothing is kept.
        reused: How many figures and graphs were there.
        made: How many were not.
    """

    def __init__(
        self,
        root: Path | None = None,
        basis: str = "",
        *,
        afresh: bool = False,
        worth_keeping: float = _WORTH_KEEPING,
    ) -> None:
        """Open the records.

        Args:
            root: The folder of all records; None keeps nothing.
            basis: Digest of what all of them depend on.
            afresh: Make everything again, and keep that in place of what is there.
            worth_keeping: Seconds of work that a graph must have cost to be kept.
        """
        self.folder = None if root is None else root / basis
        self._root = root
        self._afresh = afresh
        self._worth_keeping = worth_keeping
        self.reused = 0
        self.made = 0

    def value(
        self,
        key: Mapping[str, Any],
        make: Callable[[], _Value],
        *,
        plain: Callable[[_Value], Any],
        read: Callable[[Any], _Value],
        lasting: Callable[[_Value], bool] = lambda value: True,
    ) -> _Value:
        """A value that was kept, or that is made now.

        Args:
            key: What decides it beside the basis, as JSON can hold it.
            make: Makes it.
            plain: Turns it into what JSON can hold.
            read: Turns that back; whatever it raises of TypeError, KeyError and ValueError means a damaged record.
            lasting: Whether it may be kept.
        """
        path = None if self.folder is None else self.folder / f"{digest(key)}.json"
        if path is not None and not self._afresh:
            try:
                found = read(_read(path))
            except (OSError, TypeError, KeyError, ValueError):
                pass
            else:
                self.reused += 1
                return found
        value = make()
        self.made += 1
        if path is not None and lasting(value):
            with suppress(OSError):  # a disk that is full, a folder that is not ours: the work itself goes on
                _write(path, plain(value))
        return value

    def files(
        self, key: Mapping[str, Any], folder: Path, names: Sequence[str], make: Callable[[], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Files that were kept, put where they belong, or that are made now; kept only if that took long.

        Args:
            key: What decides them beside the basis, as JSON can hold it.
            folder: Where they belong.
            names: What each of their names begins with.
            make: Writes them, and returns what is to be known of them, as JSON can hold it.

        Returns:
            What `make` returned.
        """
        kept = None if self.folder is None else self.folder / digest(key)
        if kept is not None and not self._afresh:
            note = _put(kept, folder)
            if note is not None:
                self.reused += 1
                return note
        start = time.perf_counter()
        made = make()
        self.made += 1
        if kept is not None and time.perf_counter() - start >= self._worth_keeping:
            paths = sorted(path for name in names for path in folder.glob(f"{name}*"))
            if sum(path.stat().st_size for path in paths) <= LIMIT // 4:
                with suppress(OSError):
                    _take(kept, paths, made)
        return made

    def prune(self, limit: int = LIMIT) -> None:
        """Remove what was not used for longest until all records together have no more than `limit` bytes."""
        if self._root is None:
            return
        records = []
        with suppress(OSError):
            records = [path for basis in self._root.iterdir() if basis.is_dir() for path in basis.iterdir()]
        known = [found for path in records if (found := _used_and_size(path)) is not None]
        total = sum(size for _, size, _ in known)
        for _, size, path in sorted(known):
            if total <= limit:
                break
            _remove(path)
            total -= size
            with suppress(OSError):  # not empty
                path.parent.rmdir()


def digest(value: Any) -> str:
    """A digest of what JSON can hold, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read(path: Path) -> Any:
    """The value of a record.

    Raises:
        OSError: it is not there.
        ValueError: it is not whole.
    """
    head, _, body = path.read_text(encoding="ascii").partition("\n")
    if hashlib.sha256(body.encode()).hexdigest() != head:
        raise ValueError(f"{path} is damaged")
    value = json.loads(body)
    _touch(path)
    return value


def _write(path: Path, value: Any) -> None:
    body = json.dumps(value)  # infinities too: no other program reads it
    _make_folder(path.parent)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        partial.write_text(f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}", encoding="ascii")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    # Figures come with texts of the data they were measured on: nobody else's to read.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def _take(kept: Path, paths: Sequence[Path], note: Mapping[str, Any]) -> None:
    _make_folder(kept.parent)
    partial = kept.with_name(f"{kept.name}.{secrets.token_hex(4)}")
    try:
        partial.mkdir(mode=0o700)
        for path in paths:
            shutil.copyfile(path, partial / path.name)
        files = {path.name: sha256(path) for path in paths}
        _write(partial / _RECORD, {"note": dict(note), "files": files})
        _remove(kept)
        partial.rename(kept)
    finally:
        _remove(partial)


def _put(kept: Path, folder: Path) -> Mapping[str, Any] | None:
    """Copy kept files to where they belong; None where they are not there, or not whole."""
    try:
        record = _read(kept / _RECORD)
        for name in record["files"]:
            (folder / name).unlink(missing_ok=True)  # a session may have mapped it: never write into it
            shutil.copyfile(kept / name, folder / name)
        whole = all(sha256(folder / name) == expected for name, expected in record["files"].items())
        note: Mapping[str, Any] = record["note"]
    except (OSError, BundleError, TypeError, KeyError, ValueError, AttributeError):
        return None
    _touch(kept)
    return note if whole else None


def _used_and_size(path: Path) -> tuple[float, int, Path] | None:
    try:
        files = [*path.iterdir()] if path.is_dir() else [path]
        return path.stat().st_mtime, sum(file.stat().st_size for file in files), path
    except OSError:  # another process removed it
        return None


def _touch(path: Path) -> None:
    with suppress(OSError):
        os.utime(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
