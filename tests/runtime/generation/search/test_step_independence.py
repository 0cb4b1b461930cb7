"""A decoder is asked whether its scores depend on how many tokens a step reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepipe.errors import BundleError
from edgepipe.generation.search.step_independence import are_same_scores, draw_ids, reads_ahead, reads_in_parts
from tests.runtime.generation.table_decoder import TableDecoder, TableDecoding, draw_table


class RoundingDecoder(TableDecoder):
    """One whose scores are rounded by a scale of the whole step."""

    def begin(self, *args: Any) -> RoundingDecoding:
        return RoundingDecoding(self, 1)


class RoundingDecoding(TableDecoding):
    def step_every(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        scores = super().step_every(tokens)
        scale = np.abs(scores).max() / 127
        rounded: NDArray[np.float32] = np.round(scores / scale) * scale
        return rounded


class FailingDecoder(TableDecoder):
    """One whose graph takes one token behind others, and no more."""

    def begin(self, *args: Any) -> FailingDecoding:
        return FailingDecoding(self, 1)


class FailingDecoding(TableDecoding):
    def step_every(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        raise BundleError("the graph failed")


class ScalingDecoder(TableDecoder):
    """One whose scores are rounded the more, the more tokens are read at once."""

    def begin(self, *args: Any) -> ScalingDecoding:
        return ScalingDecoding(self, 1)


class ScalingDecoding(TableDecoding):
    def step(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        scale = np.float32(0.1 * tokens.shape[1])
        rounded: NDArray[np.float32] = np.round(super().step(tokens) / scale) * scale
        return rounded


TABLE = draw_table(100)


@pytest.mark.parametrize("limit", [None, 1, 4, 100])
def test_who_reads_a_prompt_in_parts(limit: int | None) -> None:
    for decoder, same in ((TableDecoder(TABLE), True), (ScalingDecoder(TABLE), limit in (1, 4))):  # too short for parts
        decoder.max_length = limit  # type: ignore[assignment]
        assert reads_in_parts(decoder) is same


@pytest.mark.parametrize("count", [2, 11])
def test_who_reads_ahead(count: int) -> None:
    assert reads_ahead(TableDecoder(TABLE, joins=True), count)
    assert not reads_ahead(TableDecoder(TABLE), count)
    assert not reads_ahead(RoundingDecoder(TABLE, joins=True), count)
    assert not reads_ahead(FailingDecoder(TABLE, joins=True), count)


def test_the_text_that_is_tried_is_no_longer_than_the_model_takes() -> None:
    for limit in (4, 9, 12, 100):
        decoder = TableDecoder(TABLE, joins=True)
        decoder.max_length = limit  # type: ignore[assignment]
        assert reads_ahead(decoder, 11)
        read = [count for name, count in decoder.calls if name == "step_every"]
        assert sum(read) == max(1, min(11, limit - min(8, max(1, limit - 2))))


def test_ids_are_those_of_the_vocabulary() -> None:
    decoder = TableDecoder(TABLE)
    decoder.config = {"vocab_size": 7}
    ids = draw_ids(decoder, 3, 50)
    assert ids.shape == (3, 50)
    assert set(ids.ravel().tolist()) == set(range(7))


def test_what_the_order_of_sums_does_is_no_difference() -> None:
    scores = np.array([3.0, -50.0, -np.inf], np.float32)
    assert are_same_scores(scores + np.float32(1e-3), scores)
    assert not are_same_scores(scores + np.float32(1e-1), scores)
    assert not are_same_scores(np.array([3.0, -50.0, 0.0], np.float32), scores)
