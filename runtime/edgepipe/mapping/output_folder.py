"""Where a job writes: a folder here or at an address, whose files are whole or absent."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edgepipe.errors import EdgepipeError, InputError, first_line
from edgepipe.mapping.sources.storage import find_system, is_local

_PARTIAL = ".partial-"


class OutputFolder:
    """A folder of a job's files.

    Attributes:
        address: Where it is.
    """

    def __init__(self, address: str) -> None:
        """Name a folder; it is made when it is written to.

        Raises:
            DependencyError: the package for the address is missing.
        """
        self.address = address
        self._system, self._path = find_system(address)
        self._local = Path(self._path) if is_local(address) else None

    def names(self) -> set[str]:
        """The names of its files and folders; none where it is not there.

        Raises:
            InputError: it is no folder, or cannot be read.
        """
        try:
            self._system.invalidate_cache()
            if not self._system.exists(self._path):
                return set()
            if not self._system.isdir(self._path):
                raise InputError(
                    f"{self.address} is a file; name a folder, or a file that ends in .parquet or the like"
                )
            return {name.rstrip("/").rsplit("/", 1)[-1] for name in self._system.ls(self._path, detail=False)}
        except OSError as error:
            raise InputError(f"{self.address} cannot be read: {error.strerror or first_line(error)}") from error

    def read(self, name: str) -> bytes:
        """What a file holds."""
        try:
            return bytes(self._system.cat_file(f"{self._path}/{name}"))
        except OSError as error:
            raise InputError(f"{self.address}/{name} cannot be read: {first_line(error)}") from error

    def write(self, name: str, write: Callable[[Path], None]) -> None:
        """Write a file whole or not at all.

        Args:
            name: Its name.
            write: Writes it to a path of this machine.

        Raises:
            InputError: there is no room, or it may not be written.
        """
        try:
            if self._local is not None:
                self._local.mkdir(parents=True, exist_ok=True)
                _write_here(self._local / name, write)
                return
            with tempfile.TemporaryDirectory(prefix="edgepipe-map-") as folder:
                written = Path(folder) / name
                write(written)
                self._system.makedirs(self._path, exist_ok=True)
                self._system.put_file(str(written), f"{self._path}/{name}")
        except OSError as error:
            if isinstance(error, EdgepipeError):
                raise
            raise InputError(
                f"{self.address}/{name} cannot be written: {error.strerror or first_line(error)}; make room or take "
                "another folder. Parts that are there are whole, and the same command goes on"
            ) from error

    def remove(self, name: str) -> None:
        """Remove a file."""
        with suppress(FileNotFoundError):
            self._system.rm_file(f"{self._path}/{name}")

    def remove_leftovers(self) -> None:
        """Remove what writers left that were killed."""
        for name in self.names():
            if name.startswith(".") and _PARTIAL in name:
                self.remove(name)

    def remove_if_empty(self) -> None:
        """Remove the folder, where nothing is in it any more."""
        with suppress(OSError):
            self._system.rmdir(self._path)


def _write_here(path: Path, write: Callable[[Path], None]) -> None:
    partial = path.with_name(f".{path.name}{_PARTIAL}{secrets.token_hex(4)}")
    try:
        write(partial)
        with partial.open("rb+") as stream:  # else a power cut may leave the name and not the content
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
