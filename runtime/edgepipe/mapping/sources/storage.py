"""Files wherever they are: a path, a glob, a folder, or an address that fsspec knows, such as ``s3://bucket/texts``."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgepipe.errors import DependencyError, InputError, first_line

# Of each end of a file, how much tells whether it is another one now.
_ENDS = 1 << 16

_GLOB = set("*?[")


@dataclass(frozen=True)
class StoredFile:
    """A file.

    Attributes:
        path: Where it is, with the file system's prefix.
        size: Its bytes.
        partition: The columns that its folders name, as ``year=2024`` does, and their values.
    """

    path: str
    size: int
    partition: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name without the folders."""
        return posixpath.basename(self.path)

    def open(self) -> Any:
        """The file, to be read: binary, and one can seek in it."""
        with reading(self.path):
            system, path = find_system(self.path)
            return system.open(path, "rb")

    def check_size(self) -> None:
        """Make sure that it is as long as it was.

        Raises:
            InputError: it is not, or it is gone.
        """
        with reading(self.path):
            system, path = find_system(self.path)
            size = int(system.size(path) or 0)
        if size != self.size:
            raise InputError(f"{self.path} has changed since the job began: {size} bytes, {self.size} before")

    def fingerprint(self) -> str:
        """By what another file of that size is told: a hash of its beginning and end."""
        digest = hashlib.sha256()
        with reading(self.path), self.open() as stream:
            digest.update(stream.read(_ENDS))
            if self.size > 2 * _ENDS:
                stream.seek(self.size - _ENDS)
            digest.update(stream.read(_ENDS))
        return digest.hexdigest()[:16]


def find_files(paths: Sequence[str | os.PathLike[str]], suffixes: Sequence[str]) -> list[StoredFile]:
    """The files that some paths name, folder by folder in the order of their names.

    Args:
        paths: Files, folders, globs, addresses.
        suffixes: How the names of a folder's files end that are read. Others in it are an error, but those that begin
            with a dot or a low line.

    Raises:
        DependencyError: the package for an address is missing.
        InputError: nothing is there, or a file cannot be read here.
    """
    found: dict[str, StoredFile] = {}
    for each in paths:
        given = os.fspath(each)
        system, path = find_system(given)
        with reading(given):
            for name, size in _list_sizes(system, path, given).items():
                partition = {} if name == path else _read_partition(name.removeprefix(path))
                found[name] = StoredFile(_address(system, name), size, partition)
    for file in found.values():
        if not file.name.lower().endswith(tuple(suffixes)):
            raise InputError(f"{file.path} cannot be read here; a file ends in {', '.join(suffixes)}")
    return list(found.values())


def find_system(address: str) -> tuple[Any, str]:
    """The file system of an address, as fsspec has it, and the path there.

    Raises:
        DependencyError: fsspec, or its package for such addresses, is missing.
        InputError: nobody knows such addresses.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise DependencyError(f"datasets need fsspec ({error}); pip install 'edgepipe[map]'") from error
    try:
        system, path = url_to_fs(os.path.expanduser(address))
    except ImportError as error:
        raise DependencyError(f"{address} needs a package that is missing: {first_line(error)}") from error
    except ValueError as error:
        raise InputError(f"{address} cannot be opened: {first_line(error)}") from error
    return system, path


def is_local(address: str) -> bool:
    """Whether an address is a path of this machine."""
    return "://" not in address or address.startswith(("file://", "local://"))


def local_path(address: str) -> Path:
    """The path of a local address."""
    return Path(find_system(address)[1])


@contextmanager
def reading(address: str) -> Iterator[None]:
    """Around what reads an address.

    Raises:
        InputError: it cannot be read.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{address} cannot be read: {error.strerror or first_line(error)}") from error


def _list_sizes(system: Any, path: str, given: str) -> dict[str, int]:
    """The bytes of each file, in the order of their names."""
    if system.isdir(path):
        below = system.find(path, detail=True)
        found = {name: info for name, info in below.items() if not _is_hidden_below(name.removeprefix(path))}
    elif system.exists(path):
        found = {path: system.info(path)}
    else:
        matching = system.glob(path, detail=True) if _GLOB & set(given) else {}
        found = {name: info for name, info in matching.items() if info["type"] == "file"}
    if not found:
        raise InputError(f"{given} is not there, or has no file in it")
    return {name: int(found[name]["size"] or 0) for name in sorted(found)}


def _address(system: Any, name: str) -> str:
    protocols = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
    return name if "file" in protocols else str(system.unstrip_protocol(name))


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _is_hidden_below(path: str) -> bool:
    return any(_is_hidden(part) for part in path.split("/") if part)


def _read_partition(path: str) -> dict[str, str]:
    """The columns that folders name, in Hive's form."""
    parts = (part.partition("=") for part in path.split("/")[:-1])
    return {name: value for name, equals, value in parts if equals and name}
