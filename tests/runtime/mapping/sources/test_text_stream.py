"""Lines from any place of a text that is compressed or not."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from edgepipe.errors import InputError
from edgepipe.mapping.sources.storage import StoredFile
from edgepipe.mapping.sources.text_stream import TextStream

LINES = [f"line {number} äöü 日本\n".encode() for number in range(500)]
TEXT = b"".join(LINES)


def _arrow(codec: str) -> Callable[[bytes], bytes]:
    def compress(data: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()

    return compress


COMPRESS: dict[str, Callable[[bytes], Any]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": _arrow("zstd"),
    ".lz4": _arrow("lz4"),
}


def stream_of(folder: Path, name: str, data: bytes) -> TextStream:
    path = folder / name
    path.write_bytes(data)
    return TextStream(StoredFile(str(path), len(data)))


@pytest.mark.parametrize("end", COMPRESS, ids=[end.removeprefix(".") or "plain" for end in COMPRESS])
def test_lines_from_any_place(tmp_path: Path, end: str) -> None:
    stream = stream_of(tmp_path, "a.jsonl" + end, COMPRESS[end](TEXT))
    assert list(stream.lines()) == LINES
    assert stream.position == len(TEXT)
    for first in (0, 7, 300, 2, 499):  # on and back
        offset = sum(map(len, LINES[:first]))
        assert list(islice(stream.lines(offset), 3)) == LINES[first : first + 3]
        assert stream.position == offset + sum(map(len, LINES[first : first + 3]))
    stream.close()
    assert next(stream.lines()) == LINES[0]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, "a.csv", b"\xef\xbb\xbftext\n1\n")
    assert list(stream.lines()) == [b"text\n", b"1\n"]
    assert stream.position == 10


@pytest.mark.parametrize("end", [end for end in COMPRESS if end], ids=[end[1:] for end in COMPRESS if end])
@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"no such file"], ids=["cut", "other"]
)
def test_damaged_files_are_told(tmp_path: Path, end: str, damage: Any) -> None:
    stream = stream_of(tmp_path, "a.jsonl" + end, damage(COMPRESS[end](TEXT * 40)))
    with pytest.raises(InputError, match=r"a\.jsonl.* cannot be read"):
        list(stream.lines())
