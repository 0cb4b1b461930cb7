"""A cache on disk of measurements and graphs: work that was interrupted, or is done again, goes on where it was.

A record is found by a digest of all that decides it (:mod:`edgepipe_export.output.fingerprint`). One that was cut off
or altered is made again. Records are written beside their place and renamed into it, so several processes can work at
once. The least recently used go first when there are too many.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from edgepipe.backend.disk_cache import make_private_folder, mark_used, prune_records, remove_record
from edgepipe.bundle.integrity import parse_json, sha256
from edgepipe.errors import BundleError

# Bytes of all records. Measurements have a few kilobytes each; graphs fill it.
LIMIT = 4 * 2**30

# Seconds of work that a graph must have cost to be cached.
_MIN_SECONDS = 5.0

_RECORD = "record.json"

_Value = TypeVar("_Value")


class Cache:
    """The records of one export.

    Attributes:
        folder: Where they are; None where nothing is cached.
        hits: How many values and graphs were there.
        misses: How many were not.
    """

    def __init__(
        self,
        root: Path | None = None,
        fingerprint: str = "",
        *,
        refresh: bool = False,
        min_seconds: float = _MIN_SECONDS,
    ) -> None:
        """Open the records.

        Args:
            root: The folder of all records; None caches nothing.
            fingerprint: Digest of what all records of the export depend on.
            refresh: Compute everything again, and cache that in place of what is there.
            min_seconds: Seconds of work that a graph must have cost to be cached.
        """
        self.folder = None if root is None else root / fingerprint
        self._root = root
        self._refresh = refresh
        self._min_seconds = min_seconds
        self.hits = 0
        self.misses = 0

    def value(
        self,
        key: Mapping[str, Any],
        *,
        compute: Callable[[], _Value],
        to_json: Callable[[_Value], Any],
        from_json: Callable[[Any], _Value],
        keep: Callable[[_Value], bool] = lambda value: True,
    ) -> _Value:
        """A value from the cache, or computed now.

        Args:
            key: What decides it beside the fingerprint, as JSON can hold it.
            compute: Computes it.
            to_json: Turns it into what JSON can hold.
            from_json: Turns that back; TypeError, KeyError and ValueError mean a damaged record.
            keep: Whether it may be cached.
        """
        path = None if self.folder is None else self.folder / f"{hash_json(key)}.json"
        if path is not None and not self._refresh:
            with suppress(OSError, TypeError, KeyError, ValueError):
                found = from_json(_read_record(path))
                self.hits += 1
                return found
        value = compute()
        self.misses += 1
        if path is not None and keep(value):
            with suppress(OSError):  # a disk that is full, a folder that is not ours: the work itself goes on
                _write_record(path, to_json(value))
        return value

    def files(
        self, key: Mapping[str, Any], folder: Path, names: Sequence[str], make: Callable[[], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Files from the cache, or made now; cached only if that took long.

        Args:
            key: What decides them beside the fingerprint, as JSON can hold it.
            folder: Where they belong.
            names: What each of their names begins with.
            make: Writes them, and returns what is to be known of them, as JSON can hold it.

        Returns:
            What `make` returned.
        """
        record = None if self.folder is None else self.folder / hash_json(key)
        if record is not None and not self._refresh:
            note = _copy_out(record, folder)
            if note is not None:
                self.hits += 1
                return note
        start = time.perf_counter()
        note = make()
        self.misses += 1
        if record is not None and time.perf_counter() - start >= self._min_seconds:
            paths = sorted(path for name in names for path in folder.glob(f"{name}*"))
            if sum(path.stat().st_size for path in paths) <= LIMIT // 4:
                with suppress(OSError):
                    _copy_in(record, paths, note)
        return note

    def prune(self, limit: int = LIMIT) -> None:
        """Remove the least recently used records until all together have no more than `limit` bytes."""
        if self._root is None:
            return
        records = []
        with suppress(OSError):
            records = [path for folder in self._root.iterdir() if folder.is_dir() for path in folder.iterdir()]
        for path in prune_records(records, limit):
            with suppress(OSError):  # not empty
                path.parent.rmdir()


def hash_json(value: Any) -> str:
    """A digest of what JSON can hold, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read_record(path: Path) -> Any:
    """The value of a record.

    Raises:
        OSError: it is not there.
        ValueError: it is not whole.
    """
    head, _, body = path.read_text(encoding="ascii").partition("\n")
    if hashlib.sha256(body.encode()).hexdigest() != head:
        raise ValueError(f"{path} is damaged")
    value = parse_json(body)
    mark_used(path)
    return value


def _write_record(path: Path, value: Any) -> None:
    body = json.dumps(value)  # infinities too: no other program reads it
    make_private_folder(path.parent)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        partial.write_text(f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}", encoding="ascii")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _copy_in(folder: Path, paths: Sequence[Path], note: Mapping[str, Any]) -> None:
    make_private_folder(folder.parent)
    partial = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}")
    try:
        partial.mkdir(mode=0o700)
        for path in paths:
            shutil.copyfile(path, partial / path.name)
        files = {path.name: sha256(path) for path in paths}
        _write_record(partial / _RECORD, {"note": dict(note), "files": files})
        remove_record(folder)
        partial.rename(folder)
    finally:
        remove_record(partial)


def _copy_out(record: Path, folder: Path) -> Mapping[str, Any] | None:
    """Copy the files of a record to `folder`; None where they are not there, or not whole."""
    try:
        content = _read_record(record / _RECORD)
        for name in content["files"]:
            (folder / name).unlink(missing_ok=True)  # a session may have mapped it: never write into it
            shutil.copyfile(record / name, folder / name)
        whole = all(sha256(folder / name) == expected for name, expected in content["files"].items())
        note: Mapping[str, Any] = content["note"]
    except (OSError, BundleError, TypeError, KeyError, ValueError, AttributeError):
        return None
    mark_used(record)
    return note if whole else None
