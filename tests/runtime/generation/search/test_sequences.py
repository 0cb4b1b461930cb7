"""The array of tokens that grows with a search."""

from __future__ import annotations

import numpy as np
import pytest

from edgepipe.generation.search.sequences import Sequences, unfinished_rows


def test_rows_grow_past_the_first_buffer() -> None:
    sequences = Sequences(np.array([[1, 2], [3, 4]]))
    for token in range(600):
        sequences.append(np.array([token, -token]))
    assert sequences.length == 602
    assert sequences.ids.tolist() == [[1, 2, *range(600)], [3, 4, *range(0, -600, -1)]]


def test_selected_rows_may_repeat_and_then_differ() -> None:
    sequences = Sequences(np.array([[1], [2]]))
    sequences.select(np.array([1, 1, 0]))
    sequences.append(np.array([7, 8, 9]))
    assert sequences.ids.tolist() == [[2, 7], [2, 8], [1, 9]]


def test_the_given_tokens_are_not_changed() -> None:
    given = np.array([[1, 2]])
    Sequences(given).ids[:] = 0
    assert given.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("finished", "rows"),
    [
        ([False, False], [0, 1]),
        ([True, True], []),
        ([True, False, False, False], [3, 1, 2]),
        ([False, True, True, False, False], [0, 3, 4]),
        ([False, False, True], [0, 1]),
        ([], []),
    ],
)
def test_the_last_rows_fill_the_gaps_of_finished_ones(finished: list[bool], rows: list[int]) -> None:
    assert unfinished_rows(np.array(finished, dtype=bool)).tolist() == rows
