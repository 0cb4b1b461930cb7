"""Rows on their way through a task: from tables and from lines, each with its input or with none."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepipe.tables.column_roles import read_input
from edgepipe.tables.text_lines import strip_line_end

if TYPE_CHECKING:
    from edgepipe.tables.table_file import TableFile

# The column of texts that come from no table.
TEXT = "text"


@dataclass(frozen=True, slots=True)
class InputRow:
    """A row on its way through a task.

    Attributes:
        value: The task's input; None where the row has no text, so that nothing is computed for it.
        cells: The row's cells by column.
    """

    value: Any
    cells: Mapping[str, Any]


def rows_of_texts(texts: Iterable[str]) -> Iterator[InputRow]:
    """Texts that somebody gave one by one: an empty one is an input like the others."""
    return (InputRow(text, {TEXT: text}) for text in texts)


def rows_of_lines(lines: Iterable[str]) -> Iterator[InputRow]:
    """Lines of a file; a blank one has no input."""
    for line in lines:
        text = strip_line_end(line)
        yield InputRow(text if text.strip() else None, {TEXT: text})


def rows_of_table(table: TableFile, chosen: Mapping[str, str]) -> Iterator[InputRow]:
    """Rows of a table; one without a text has no input.

    Args:
        table: The table.
        chosen: The column of each role, as :func:`~edgepipe.tables.column_roles.choose_columns` gives them.

    Raises:
        InputError: a cell holds a number or truth value.
    """
    for number, cells in table.rows():
        yield InputRow(read_input(chosen, cells, table.place(number)), cells)


def inputs_of(rows: Iterable[InputRow]) -> Iterator[Any]:
    """The inputs alone; a warning at the end says how many rows have none."""
    skipped = 0
    for row in rows:
        if row.value is None:
            skipped += 1
        else:
            yield row.value
    if skipped:
        warnings.warn(f"blank lines, or rows without a text, that were skipped: {skipped}", stacklevel=2)
