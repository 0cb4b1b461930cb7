"""The files of a bundle: whether they are whole, and in words why one cannot be read."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from edgepipe.errors import BundleError

# The most bytes of a file that is read whole: settings, labels, templates. The largest have some megabytes.
LONGEST_TEXT = 16_000_000

# What to do about a file that is damaged.
EXPORT_AGAIN = "export or download the bundle again"


def find_obstacle(path: Path) -> str | None:
    """What stands in the way of reading a file and what to do about it; None where nothing does."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return f"{path} is a directory, and should be a file; {EXPORT_AGAIN}"
        if not stat.S_ISREG(mode):
            return f"{path} is no regular file (a device, pipe or socket); {EXPORT_AGAIN}"
        with path.open("rb"):
            return None
    except FileNotFoundError:
        if path.is_symlink():
            return (
                f"{path} is missing: it is a link to {os.readlink(path)}, which is not there; copy the bundle with the "
                f"files that its links name (cp -rL), or {EXPORT_AGAIN}"
            )
        return f"{path} is missing; {EXPORT_AGAIN}"
    except OSError as error:
        return _describe_denial(path, error)


def unreadable_error(path: Path, error: OSError) -> BundleError:
    """The error for a path that the system did not let be read; `error` may name another path in its folder."""
    named = Path(error.filename or path)
    return BundleError(find_obstacle(named) or _describe_denial(named, error))


def file_exists(path: Path) -> bool:
    """Whether there is a file of this name.

    Raises:
        BundleError: there is something that cannot be read as a file, or nobody can tell; the message has the cause.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unreadable_error(path, error) from error
    found = find_obstacle(path)
    if found is not None:
        raise BundleError(found)
    return True


def _describe_denial(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return (
            f"{path} cannot be read: {error.strerror}; give the user that runs this the right to read it and to enter "
            "the folders above it (chmod -R a+rX)"
        )
    advice = "" if error.errno == errno.ENAMETOOLONG else f"; {EXPORT_AGAIN}"
    return f"{path} cannot be read: {error.strerror or error}{advice}"


def read_bounded(path: Path, limit: int = LONGEST_TEXT) -> bytes:
    """The content of a file of no more than so many bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is longer.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        # So many are asked for, and not `limit`: Python takes memory for as many as it is asked for.
        content = file.read((size or limit) + 1) if size <= limit else b""
    if max(size, len(content)) > limit:
        raise ValueError(f"it has {max(size, len(content)):,} bytes, and no such file has more than {limit:,}")
    return content


def read_text(path: Path, limit: int = LONGEST_TEXT) -> str:
    """The content of a UTF-8 text file of no more than so many bytes.

    Raises:
        BundleError: it cannot be read, is longer, or is something else.
    """
    try:
        return io.TextIOWrapper(io.BytesIO(read_bytes(path, limit)), encoding="utf-8").read()
    except UnicodeDecodeError as error:
        raise BundleError(f"{path} cannot be read as UTF-8 text: {error}; {EXPORT_AGAIN}") from error


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file of no more than so many bytes.

    Raises:
        BundleError: it cannot be read, or is longer.
    """
    try:
        return read_bounded(path, limit)
    except OSError as error:
        raise unreadable_error(path, error) from error
    except ValueError as error:
        raise BundleError(f"{path} cannot be read: {error}; {EXPORT_AGAIN}") from error


def parse_json(text: str | bytes) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: it is no JSON, or lists in it are within each other more often than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its lists and objects are within each other too often") from None


def read_json(path: Path, kind: type = dict, limit: int = LONGEST_TEXT) -> Any:
    """The content of a JSON file of no more than so many bytes.

    Raises:
        BundleError: it cannot be read, is not JSON, or holds something else than a `kind`.
    """
    text = read_text(path, limit)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON ({error}); {EXPORT_AGAIN}") from error
    if not isinstance(content, kind):
        raise BundleError(f"{path} holds a {type(content).__name__}, not a {kind.__name__}; {EXPORT_AGAIN}")
    return content


def sha256_of_bytes(content: bytes) -> str:
    """Hexadecimal sha256 of some bytes.

    By the interpreter's own module where it has one, as :mod:`random` does: hashlib loads OpenSSL, which takes
    milliseconds of every start.
    """
    try:
        module = import_module("_sha2" if sys.version_info >= (3, 12) else "_sha256")
    except ImportError:
        module = import_module("hashlib")
    return str(module.sha256(content).hexdigest())


# Above it OpenSSL's sha256 has won back the time that it takes to load.
_LONG_FILE = 1_000_000


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size <= _LONG_FILE:
                return sha256_of_bytes(stream.read())
            import hashlib

            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise unreadable_error(path, error) from error


def check_size(path: Path, expected: int) -> None:
    """Check that a file has the size in bytes that the manifest says.

    Raises:
        BundleError: it has another, or cannot be read.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise unreadable_error(path, error) from error
    if size != expected:
        raise BundleError(
            find_obstacle(path)
            or f"{path} has {size} bytes, the manifest says {expected}: it was truncated or altered; {EXPORT_AGAIN}"
        )


def check_sha256(path: Path, expected: str) -> None:
    """Check that a file has the sha256 that the manifest says.

    Raises:
        BundleError: it has another, or cannot be read.
    """
    digest = sha256(path)
    if digest != expected:
        raise BundleError(
            f"{path} was altered: its sha256 is {digest[:12]}…, the manifest says {expected[:12]}…; {EXPORT_AGAIN}"
        )
