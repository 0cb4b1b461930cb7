"""What every format has: the types of a file's columns, slices of its rows, and the rows of a slice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from edgepipe.errors import InputError
from edgepipe.mapping.sources.storage import StoredFile


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows of one file that stand one after another.

    Attributes:
        first: The first of them, counted from 0.
        rows: How many there are.
        offset: Where they begin, in bytes of the text that is not compressed; 0 where the format needs none.
    """

    first: int
    rows: int
    offset: int = 0


class TableSource(ABC):
    """A file with a table.

    Attributes:
        file: The file.
    """

    def __init__(self, file: StoredFile) -> None:
        self.file = file

    @abstractmethod
    def scan(self, most_rows: int, most_bytes: int) -> tuple[pa.Schema, list[Slice]]:
        """The types of the columns, and all rows in slices.

        Args:
            most_rows: The most rows of a slice.
            most_bytes: The most bytes of a slice of more than one row, not compressed and about.

        Raises:
            InputError: the file cannot be read, or is not what its name says.
        """

    @abstractmethod
    def read(self, part: Slice, schema: pa.Schema) -> pa.Table:
        """The rows of a slice. Slices that are read in their order are read once.

        Args:
            part: The slice.
            schema: The columns that are wanted, as all files have them.

        Raises:
            InputError: the file cannot be read, or has changed.
        """

    def fewer_rows_error(self) -> InputError:
        """The error where a file ends before a slice does."""
        return InputError(f"{self.file.path} has changed since the job began: it has fewer rows")

    @abstractmethod
    def close(self) -> None:
        """Give the open file back."""


def make_table(rows: list[Any], schema: pa.Schema, origin: str) -> pa.Table:
    """Rows, each a dict, as a table; what a row lacks is null.

    Raises:
        InputError: a value does not fit its column.
    """
    try:
        return pa.Table.from_struct_array(pa.array(rows, type=pa.struct(list(schema))))
    except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError) as error:
        raise InputError(f"{origin} has values that do not fit their columns ({error})") from error
