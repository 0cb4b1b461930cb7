"""Tokens that are given, and the likeliest ones: what a decoder is fed, and what comes back."""

from __future__ import annotations

import numpy as np
import pytest

from edgepipe.generation.search.teacher_forcing import force_tokens, write_likeliest
from tests.runtime.generation.table_decoder import TableDecoder, draw_table

TABLE = draw_table(11)


def expected(ids: list[int]) -> np.ndarray:
    return TABLE[ids].sum(axis=0)


@pytest.mark.parametrize("rows", [1, 3])
def test_scores_of_a_text_that_is_given(rows: int) -> None:
    ids = np.array([[1, 2], [7, 3], [5, 5]])[:rows]
    following = np.array([[4, 9, 0], [8, 1, 1], [2, 6, 10]])[:rows]
    decoder = TableDecoder(TABLE)
    found = force_tokens(decoder, ids, np.ones_like(ids), following)
    assert len(found) == 4
    for step, scores in enumerate(found):
        wanted = [expected([*ids[row], *following[row, :step]]) for row in range(rows)]
        np.testing.assert_allclose(scores, wanted, rtol=1e-6)
    # One row goes on as two.
    assert decoder.calls[-1] == ("step", max(rows, 2))


def test_a_prompt_alone_has_one_step() -> None:
    ids = np.array([[1, 2]])
    [scores] = force_tokens(TableDecoder(TABLE), ids, np.ones_like(ids), np.empty((1, 0), np.int64))
    np.testing.assert_allclose(scores, [expected([1, 2])], rtol=1e-6)


def test_an_encoder_decoder_begins_with_what_follows() -> None:
    decoder = TableDecoder(TABLE)
    decoder.is_encoder_decoder = True  # type: ignore[misc]
    ids = np.array([[1, 2]])
    found = force_tokens(decoder, ids, np.ones_like(ids), np.array([[4, 9]]))
    np.testing.assert_allclose(found, [[expected([4])], [expected([4, 9])]], rtol=1e-6)


@pytest.mark.parametrize(("start", "read"), [(None, [1, 2]), (6, [6])])
def test_the_likeliest_tokens(start: int | None, read: list[int]) -> None:
    tokens, scores = write_likeliest(TableDecoder(TABLE), np.array([1, 2]), 5, start)
    ids = list(read)
    for token, row in zip(tokens, scores, strict=True):
        np.testing.assert_allclose(row, [expected(ids)], rtol=1e-6)
        assert token == expected(ids).argmax()
        ids.append(token)
    assert len(tokens) == 5
