"""The lines of a text file that may be compressed, from any place on."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, cast

import pyarrow as pa

from edgepipe.errors import InputError, first_line
from edgepipe.mapping.sources.storage import StoredFile

# How much is read at once of what is passed over.
_CHUNK = 1 << 20


def _open_arrow(codec: str) -> Callable[[Any], Any]:
    return lambda raw: io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), codec))


# By how the name of a file ends.
COMPRESSIONS: Mapping[str, Callable[[Any], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_arrow("zstd"),
    ".lz4": _open_arrow("lz4"),
}
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)


class TextStream:
    """A text file, read line by line. Of a compressed one all before a place is read, but once for places in order."""

    def __init__(self, file: StoredFile) -> None:
        """Begin without an open file."""
        self._file = file
        self._decompress = next((open_ for end, open_ in COMPRESSIONS.items() if file.name.lower().endswith(end)), None)
        self._stream: BinaryIO | None = None
        self._position = 0

    def lines(self, offset: int = 0) -> Iterator[bytes]:
        """The lines from a place on, with their ends and without a byte order mark.

        Args:
            offset: The place, in bytes of the text that is not compressed.

        Raises:
            InputError: the file cannot be read.
        """
        try:
            stream = self._seek(offset)
            if offset == 0 and stream.peek(3)[:3] == b"\xef\xbb\xbf":  # type: ignore[attr-defined]
                self._position += len(stream.read(3))
            while line := stream.readline():
                self._position += len(line)
                yield line
        except _DAMAGED as error:
            raise InputError(f"{self._file.path} cannot be read: {first_line(error)}") from error

    @property
    def position(self) -> int:
        """Where the next line begins, in bytes of the text that is not compressed."""
        return self._position

    def close(self) -> None:
        """Close the file; it is opened again when lines are wanted."""
        if self._stream is not None:
            self._stream.close()
        self._stream = None

    def _seek(self, offset: int) -> BinaryIO:
        if self._stream is None or offset < self._position:
            self.close()
            self._stream = self._open()
            self._position = 0
        stream = self._stream
        if self._decompress is None:
            stream.seek(offset)
        else:
            missing = offset - self._position
            while missing > 0:
                passed = stream.read(min(missing, _CHUNK))
                if not passed:
                    raise EOFError("it is shorter than it was")
                missing -= len(passed)
        self._position = offset
        return stream

    def _open(self) -> BinaryIO:
        raw = self._file.open()
        stream = raw if self._decompress is None else self._decompress(raw)
        return cast("BinaryIO", stream if hasattr(stream, "peek") else io.BufferedReader(stream))
