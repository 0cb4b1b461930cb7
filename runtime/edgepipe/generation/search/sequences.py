"""The tokens of all rows of a search, in one array that grows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Columns for new tokens at first: enough for most searches, whatever their limit.
_NEW_COLUMNS = 256


class Sequences:
    """Rows of tokens of equal length.

    Attributes:
        length: How many tokens each row has.
    """

    def __init__(self, ids: NDArray[np.int64]) -> None:
        self.length = int(ids.shape[1])
        self._buffer = np.empty((len(ids), self.length + _NEW_COLUMNS), dtype=np.int64)
        self._buffer[:, : self.length] = ids

    @property
    def ids(self) -> NDArray[np.int64]:
        """The tokens, int64[rows, length]: a view, good until the next change."""
        return self._buffer[:, : self.length]

    def append(self, tokens: NDArray[np.int64]) -> None:
        """Add a token to each row."""
        if self.length == self._buffer.shape[1]:
            self._buffer = np.concatenate([self._buffer, np.empty_like(self._buffer)], axis=1)
        self._buffer[:, self.length] = tokens
        self.length += 1

    def select(self, rows: NDArray[np.int64]) -> None:
        """Make the rows those of these indices."""
        self._buffer = self._buffer[rows]


def unfinished_rows(finished: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices of the rows that are not finished, int64[rows left]. The last ones fill the gaps, so that few move.

    Args:
        finished: bool[rows].
    """
    left = np.flatnonzero(~finished)
    rows = np.arange(len(left))
    rows[finished[: len(left)]] = left[left >= len(left)]
    return rows
