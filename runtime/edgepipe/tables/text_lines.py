"""Lines of UTF-8 files, one after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from edgepipe.errors import InputError


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, without their line ends.

    Raises:
        InputError: the file cannot be read, or is not UTF-8; the message has the line.
    """
    for line in read_raw_lines(path):
        yield strip_line_end(line)


def read_raw_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, each with its line end.

    Raises:
        InputError: the file cannot be read, or is not UTF-8; the message has the line.
    """
    try:
        with path.open("rb") as stream:
            yield from decode_lines(stream, str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def decode_lines(lines: Iterable[bytes], origin: str) -> Iterator[str]:
    """Lines of bytes as text, without byte order mark, each with its line end.

    Raises:
        InputError: a line is not UTF-8; the message has `origin` and the line's number.
    """
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{origin}, line {number}, is not UTF-8 ({error}); convert it, e.g. with iconv") from error


def strip_line_end(line: str) -> str:
    """A line without its line end."""
    return line.removesuffix("\n").removesuffix("\r")
