"""Rows of text as an aligned plain-text table, and facts as aligned lines; both fit a narrow terminal."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from typing import TextIO

from edgepipe.errors import InputError, escape_controls

_GAP = "  "

# Before a text that stands below its name.
_INDENT = "    "

# Columns that texts beside their names need, where they are longer.
_ROOM = 24


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], align: str | None = None, *, width: int | None = None
) -> str:
    """Lay rows out in columns, with a rule under the headers.

    Args:
        headers: One a column.
        rows: As many cells each. Blanks and line breaks inside a cell become single blanks, other controls escapes.
        align: ``"l"`` or ``"r"`` for each column, e.g. ``"lrr"``; by default a column is set right if all its cells
            are numbers (with or without a unit) or ``"-"``, else left.
        width: How many columns of a terminal there are. Where they are too few, headers and cells that are set left
            are broken between words. Where that is not enough, each row becomes a list of its cells, one below the
            other behind their headers. By default lines are as long as they are.

    Returns:
        The lines, without blanks at their ends and without a final line end. Wide characters count as two columns.

    Raises:
        InputError: a row has another number of cells than there are headers, or `align` does not fit.
    """
    lines = [[escape_controls(" ".join(cell.split())) for cell in line] for line in (headers, *rows)]
    for number, line in enumerate(lines):
        if len(line) != len(headers):
            raise InputError(f"row {number} of the table has {len(line)} cells, there are {len(headers)} headers")
    columns = list(zip(*lines, strict=True))
    if align is None:
        align = "".join("r" if _numeric(column[1:]) else "l" for column in columns)
    if len(align) != len(headers) or set(align) - {"l", "r"}:
        raise InputError(f'align has one "l" or "r" for each of {len(headers)} columns, got {align!r}')
    widths = [max(map(_width, column)) for column in columns]
    if width is not None and rows:
        narrow = _shrink(columns, align, widths, width)
        if narrow is None:
            return "\n\n".join(list_facts(list(zip(lines[0], line, strict=True)), width=width) for line in lines[1:])
        widths = narrow
    head, *body = ("\n".join(_lay_out(line, widths, align)) for line in lines)
    return "\n".join([head, _GAP.join("-" * width for width in widths), *body])


def list_facts(facts: Sequence[tuple[str, str]], *, width: int | None = None) -> str:
    """Names and what they are, a line each; the second column is aligned.

    Args:
        facts: Pairs of name and text, in which control characters are escaped.
        width: How many columns of a terminal there are. Longer texts are broken between words; where the names leave
            little room for them, they stand below.
    """
    facts = [(escape_controls(name), escape_controls(text)) for name, text in facts]
    indent = max((_width(name) for name, _ in facts), default=0) + len(_GAP)
    room = None if width is None else width - indent
    if width is not None and width - indent < min(_ROOM, max((_width(text) for _, text in facts), default=0)):
        return "\n".join(
            line
            for name, text in facts
            for line in (*wrap(name, width), *(_INDENT + part for part in wrap(text, width - len(_INDENT))))
        )
    lines = []
    for name, text in facts:
        first, *more = wrap(text, room)
        lines.append(f"{_pad(name, indent, 'l')}{first}".rstrip())
        lines += [" " * indent + part for part in more]
    return "\n".join(lines)


def wrap(text: str, width: int | None) -> list[str]:
    """A text in lines of `width` columns, broken between words; a longer word has a line of its own.

    Where `width` is None the text is one line.
    """
    if width is None or _width(text) <= width:
        return [text]
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if _width(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def terminal_width(stream: TextIO | None) -> int | None:
    """How many columns the terminal has that a stream writes to; None where it is no terminal.

    The environment variable ``COLUMNS`` goes before what the terminal says.
    """
    try:
        if stream is None or not stream.isatty():
            return None
        columns = os.environ.get("COLUMNS", "")
        if columns.isdecimal() and int(columns):
            return int(columns)
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):  # it has no descriptor, or is closed
        return None


def _shrink(columns: Sequence[Sequence[str]], align: str, widths: Sequence[int], width: int) -> list[int] | None:
    """The widths of columns that fit `width` together, the widest of them made narrower; None if none do."""
    widths = list(widths)
    # A number and its unit stay together.
    least = [
        max(_longest_word(head), *(_width(cell) if side == "r" else _longest_word(cell) for cell in cells), 0)
        for (head, *cells), side in zip(columns, align, strict=True)
    ]
    room = width - len(_GAP) * (len(columns) - 1)
    if sum(least) > room:
        return None
    while sum(widths) > room:
        widest = max(
            (number for number in range(len(widths)) if widths[number] > least[number]), key=widths.__getitem__
        )
        widths[widest] -= 1
    # What is broken between words seldom fills its column.
    return [
        max(_width(part) for cell in column for part in wrap(cell, limit))
        for column, limit in zip(columns, widths, strict=True)
    ]


def _lay_out(cells: Sequence[str], widths: Sequence[int], align: str) -> list[str]:
    """A row as lines: one, or as many as its highest cell has."""
    broken = [wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    height = max(map(len, broken), default=1)
    lines = zip(*(parts + [""] * (height - len(parts)) for parts in broken), strict=True)
    return [
        _GAP.join(_pad(cell, width, side) for cell, width, side in zip(line, widths, align, strict=True)).rstrip()
        for line in lines
    ]


def _longest_word(text: str) -> int:
    return max(map(_width, text.split()), default=0)


def _numeric(cells: Sequence[str]) -> bool:
    return bool(cells) and all(cell == "-" or cell.lstrip("+-<>≤≥~ ")[:1].isdigit() for cell in cells)


def _width(text: str) -> int:
    """How many columns a terminal gives a text, by Unicode's East Asian Width (UAX #11)."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _pad(text: str, width: int, side: str) -> str:
    blanks = " " * (width - _width(text))
    return blanks + text if side == "r" else text + blanks
