"""Rows of text as an aligned plain-text table."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from edgepipe.errors import InputError

_GAP = "  "


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], align: str | None = None) -> str:
    """Lay rows out in columns, with a rule under the headers.

    Args:
        headers: One a column.
        rows: As many cells each. Blanks and line breaks inside a cell become single blanks.
        align: ``"l"`` or ``"r"`` for each column, e.g. ``"lrr"``; by default a column is set right if all its cells
            are numbers (with or without a unit) or ``"-"``, else left.

    Returns:
        The lines, without blanks at their ends and without a final line end. Wide characters count as two columns.

    Raises:
        InputError: a row has another number of cells than there are headers, or `align` does not fit.
    """
    lines = [[" ".join(cell.split()) for cell in line] for line in (headers, *rows)]
    for number, line in enumerate(lines):
        if len(line) != len(headers):
            raise InputError(f"row {number} of the table has {len(line)} cells, there are {len(headers)} headers")
    columns = list(zip(*lines, strict=True))
    if align is None:
        align = "".join("r" if _numeric(column[1:]) else "l" for column in columns)
    if len(align) != len(headers) or set(align) - {"l", "r"}:
        raise InputError(f'align has one "l" or "r" for each of {len(headers)} columns, got {align!r}')
    widths = [max(map(_width, column)) for column in columns]
    head, *body = (
        _GAP.join(_pad_cell(cell, width, side) for cell, width, side in zip(line, widths, align, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join([head, _GAP.join("-" * width for width in widths), *body])


def _numeric(cells: Sequence[str]) -> bool:
    return bool(cells) and all(cell == "-" or cell.lstrip("+-<>≤≥~ ")[:1].isdigit() for cell in cells)


def _width(text: str) -> int:
    """How many columns a terminal gives a text, by Unicode's East Asian Width (UAX #11)."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _pad_cell(cell: str, width: int, side: str) -> str:
    blanks = " " * (width - _width(cell))
    return blanks + cell if side == "r" else cell + blanks
