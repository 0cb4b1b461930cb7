"""Files of texts to calibrate on and measure with: text, CSV, TSV, JSONL and CoNLL, as rows of named fields."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepipe.errors import InputError
from edgepipe.tables.json_lines import read_json_lines

# What a column may be called, by what it holds; names are compared in lower case.
NAMES: dict[str, tuple[str, ...]] = {
    "text": ("text", "sentence", "sentence1", "text1", "premise", "content", "sequence"),
    "text_pair": ("text_pair", "sentence2", "text2", "hypothesis"),
    "label": ("label", "labels", "gold"),
    "question": ("question",),
    "context": ("context",),
    "answers": ("answers", "answer"),
    "words": ("words", "tokens"),
    "tags": ("tags", "ner_tags"),
    "score": ("score", "similarity"),
    "target": ("target", "summary", "translation"),
}
_ROLES = {name: role for role, names in NAMES.items() for name in names}

# What the columns of a TSV file without a first line of names hold, by their number.
_UNNAMED: dict[int, tuple[str, ...]] = {1: ("text",), 2: ("text", "label"), 3: ("text", "text_pair", "label")}

# WikiANN puts the language before every word, e.g. "en:Sioux".
_PREFIX = re.compile(r"[a-z]{2,3}(-[a-z]+)?:")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file.

    Attributes:
        rows: What each row holds, by role: a key of :data:`NAMES`.
        lines: The line each row begins on, counted from 1.
        columns: The names found in the file, for messages; empty where there are none.
        origin: The file's name.
        named: Whether the columns were found by name.
    """

    rows: tuple[Mapping[str, Any], ...]
    lines: tuple[int, ...]
    columns: tuple[str, ...]
    origin: str
    named: bool = True

    @property
    def roles(self) -> frozenset[str]:
        """What every row holds."""
        return frozenset.intersection(*(frozenset(row) for row in self.rows)) if self.rows else frozenset()

    def where(self, row: int) -> str:
        """A row's place in words."""
        return f"{self.origin}, line {self.lines[row]}"


def check_path(path: str | os.PathLike[str] | None) -> Path | None:
    """Check that a calibration file is there, before the long work starts; its path, None for none.

    Raises:
        InputError: it is not there, or is a directory.
    """
    if path is None:
        return None
    file = Path(path)
    if not file.is_file():
        why = "is a directory" if file.is_dir() else "is not there"
        raise InputError(f"{file} {why}; name the file that has the texts (--calibration)")
    return file


def read_table(path: str | os.PathLike[str]) -> Table:
    """Read a file by what its name ends in: ``.csv``, ``.tsv``, ``.jsonl``, ``.conll``; any other has a text a line.

    Raises:
        InputError: the file cannot be read, is not UTF-8, is empty, or is not what its name says.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error
    text = _decode(content, file.name)
    table = _READERS.get(file.suffix.lower(), _lines)(text, file.name)
    if not table.rows:
        raise InputError(
            f"{file.name} is empty; give at least one text, or leave --calibration out for the built-in ones"
        )
    return table


def _decode(content: bytes, origin: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{origin} is not UTF-8: byte 0x{content[error.start]:02x} on line {line}; convert it, e.g. with "
            f"iconv -f latin1 -t utf-8"
        ) from error


def _split_lines(text: str) -> list[str]:
    """Lines as editors count them: str.splitlines would also split at form feeds and Unicode's separators."""
    return text.replace("\r\n", "\n").split("\n")


def _lines(text: str, origin: str) -> Table:
    found = [(number, line) for number, line in enumerate(_split_lines(text), 1) if line.strip()]
    return Table(tuple({"text": line} for _, line in found), tuple(number for number, _ in found), (), origin)


def _comma_separated(text: str, origin: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    begin = 1
    try:
        for row in reader:
            if row:
                rows.append((begin, row))
            begin = reader.line_num + 1  # a quoted text may have several lines
    except csv.Error as error:
        raise InputError(f"{origin}, line {reader.line_num}, is not CSV: {error}") from error
    if rows and not any(_role(name) for name in rows[0][1]):
        raise InputError(
            f"{origin} has the columns {_list_names(rows[0][1])}, and none has a name that says what it holds; name "
            f"one of them text (its first line must be names; known are {_list_names(_ROLES)})"
        )
    return _with_header(rows, origin)


def _tab_separated(text: str, origin: str) -> Table:
    rows = [(number, line.split("\t")) for number, line in enumerate(_split_lines(text), 1) if line.strip()]
    if rows and any(_role(name) for name in rows[0][1]):
        return _with_header(rows, origin)
    width = len(rows[0][1]) if rows else 1
    if width not in _UNNAMED:
        raise InputError(
            f"{origin} has {width} columns, the first line {_list_names(rows[0][1])}: what they hold cannot be told; "
            f"give them names in the first line (known are {_list_names(_ROLES)})"
        )
    return _make_table(rows, _UNNAMED[width], origin, (), named=False)


def _with_header(rows: Sequence[tuple[int, list[str]]], origin: str) -> Table:
    if not rows:
        return Table((), (), (), origin)
    (_, header), *rest = rows
    return _make_table(rest, [_role(name) for name in header], origin, tuple(header))


def _make_table(
    rows: Sequence[tuple[int, list[str]]],
    roles: Sequence[str | None],
    origin: str,
    columns: tuple[str, ...],
    *,
    named: bool = True,
) -> Table:
    for number, row in rows:
        if len(row) != len(roles):
            raise InputError(f"{origin}, line {number}, has {len(row)} columns, and the first line has {len(roles)}")
    filled = tuple({role: value for role, value in zip(roles, row, strict=True) if role} for _, row in rows)
    return Table(filled, tuple(number for number, _ in rows), columns, origin, named)


def _json_lines(text: str, origin: str) -> Table:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    columns: dict[str, None] = {}
    for number, line, record in read_json_lines(_split_lines(text), origin):
        if not isinstance(record, dict):
            raise InputError(f"{origin}, line {number}, must be an object with named fields, got {line!r:.60}")
        columns |= dict.fromkeys(record)
        rows.append({role: value for name, value in record.items() if (role := _role(name))})
        lines.append(number)
    return Table(tuple(rows), tuple(lines), tuple(columns), origin)


def _conll(text: str, origin: str) -> Table:
    """Words in the first column, tags in the last where there are several, an empty line after each sentence."""
    sentences = list(_sentences(text))
    widths = {len(fields) > 1 for _, rows in sentences for fields in rows}
    if len(widths) > 1:
        odd = next(number + at for number, rows in sentences for at, fields in enumerate(rows) if len(fields) == 1)
        raise InputError(f"{origin}, line {odd}, has a word without a tag, and other lines have tags")
    words = [[fields[0] for fields in rows] for _, rows in sentences]
    if words and all(_PREFIX.match(word) for sentence in words for word in sentence):
        words = [[word[_PREFIX.match(word).end() :] for word in sentence] for sentence in words]  # type: ignore[union-attr]
    tagged = widths == {True}
    rows = tuple(
        {"words": own} | ({"tags": [fields[-1] for fields in fields_of]} if tagged else {})
        for own, (_, fields_of) in zip(words, sentences, strict=True)
    )
    return Table(rows, tuple(number for number, _ in sentences), ("words", "tags")[: 1 + tagged], origin)


def _sentences(text: str) -> Iterator[tuple[int, list[list[str]]]]:
    start = 1
    rows: list[list[str]] = []
    for number, line in enumerate([*_split_lines(text), ""], 1):
        fields = line.split("\t") if "\t" in line else line.split()
        if line.strip() and fields[0] != "-DOCSTART-":
            start = start if rows else number
            rows.append([field.strip() for field in fields])
        elif rows:
            yield start, rows
            rows = []


def _role(name: str) -> str | None:
    return _ROLES.get(name.strip().lower())


def _list_names(names: Sequence[str] | Mapping[str, str]) -> str:
    return ", ".join(repr(name) if name != name.strip() or not name else f"{name:.40}" for name in names)


_READERS = {
    ".csv": _comma_separated,
    ".tsv": _tab_separated,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".conll": _conll,
    ".bio": _conll,
    ".iob": _conll,
}
