"""Why a file of a bundle cannot be read, in words: the system has a number for it, and onnxruntime often less."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from pathlib import Path

from edgepipe.errors import BundleError

_AGAIN = "export or download the bundle again"

# What follows a graph's name in those of the graph and of its weights, as most tools call them.
_WEIGHTS = re.compile(r"(_data(_\d+)?|\.data)?")

# How onnxruntime says that a graph's weights are not there, or end too early.
_NO_WEIGHTS = re.compile(r"External data path does not exist: \"(?P<path>[^\"]+)\"")
_SHORT_WEIGHTS = re.compile(r"size to read: \d+ given file_length: (?P<size>\d+) are out of bounds")
# A graph of which the end is missing, or that is none.
_NO_GRAPH = re.compile(r"Protobuf parsing failed|No graph was found in the protobuf")


def obstacle(path: Path) -> str | None:
    """What stands in the way of reading a file and what to do about it; None where nothing does."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return f"{path} is a directory, and should be a file; {_AGAIN}"
        if not stat.S_ISREG(mode):
            return f"{path} is no regular file (a device, pipe or socket); {_AGAIN}"
        with path.open("rb"):
            return None
    except FileNotFoundError:
        if path.is_symlink():
            return (
                f"{path} is missing: it is a link to {os.readlink(path)}, which is not there; copy the bundle with the "
                f"files that its links name (cp -rL), or {_AGAIN}"
            )
        return f"{path} is missing; {_AGAIN}"
    except OSError as error:
        return _denied(path, error)


def unreadable(path: Path, error: OSError) -> BundleError:
    """The error for a path that the system did not let be read.

    Args:
        path: What was read, or the folder it is in.
        error: What the system said; it may name another path.
    """
    named = Path(error.filename or path)
    return BundleError(obstacle(named) or _denied(named, error))


def is_there(path: Path) -> bool:
    """Whether there is a file of this name.

    Raises:
        BundleError: there is something that cannot be read as a file, or nobody can tell; the message has the cause.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unreadable(path, error) from error
    found = obstacle(path)
    if found is not None:
        raise BundleError(found)
    return True


def damage(graph: Path, said: str) -> str | None:
    """Which file kept onnxruntime from loading a graph; None where it is not the files.

    Args:
        graph: The graph's file.
        said: onnxruntime's message, which leaves the name out in most cases.
    """
    missing = _NO_WEIGHTS.search(said)
    beside = [
        path
        for path in sorted(graph.parent.glob(f"{graph.name}*"))
        if _WEIGHTS.fullmatch(path.name.removeprefix(graph.name))
    ]
    suspects = [*beside, *([Path(missing["path"])] if missing else [])]
    for found in map(obstacle, suspects):
        if found is not None:
            return found
    short = _SHORT_WEIGHTS.search(said)
    if short is not None:
        size = int(short["size"])
        name = next((str(path) for path in beside if path.stat().st_size == size), f"the file of {graph}'s weights")
        return f"{name} has {size} bytes, the graph needs more: it was truncated, or belongs to another graph; {_AGAIN}"
    if _NO_GRAPH.search(said):
        return f"{graph} is no whole ONNX graph, its {graph.stat().st_size} bytes are truncated or altered; {_AGAIN}"
    return None


def _denied(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return (
            f"{path} cannot be read: {error.strerror}; give the user that runs this the right to read it and to enter "
            "the folders above it (chmod -R a+rX)"
        )
    advice = "" if error.errno == errno.ENAMETOOLONG else f"; {_AGAIN}"
    return f"{path} cannot be read: {error.strerror or error}{advice}"


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error
