"""Answer spans beside a search through all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgepipe.pipelines.question_answering import decode_spans


def inputs(seed: int, tokens: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Random logits; the first token and a run at the end may be in an answer, as in an encoded context."""
    generator = np.random.default_rng(seed)
    start, end = (3 * generator.standard_normal((2, tokens))).astype(np.float32)
    allowed = np.arange(tokens) >= tokens // 3
    allowed[0] = True
    return start, end, allowed


def searched(
    start: NDArray[np.float32], end: NDArray[np.float32], allowed: NDArray[np.bool_], longest: int
) -> tuple[dict[tuple[int, int], float], float]:
    """Every span with its score in float64, and that of "no answer", by definition."""
    first, last = (np.where(allowed, np.exp(logits.astype(np.float64)), 0) for logits in (start, end))
    first, last = first / first.sum(), last / last.sum()
    spans = {
        (one, other): first[one] * last[other]
        for one, other in itertools.product(range(1, len(start)), repeat=2)
        if one <= other < one + longest and allowed[one] and allowed[other]
    }
    return spans, first[0] * last[0]


@given(
    seed=st.integers(min_value=0, max_value=10**6),
    tokens=st.integers(min_value=4, max_value=25),
    count=st.integers(min_value=1, max_value=30),
    longest=st.integers(min_value=1, max_value=30),
)
@settings(deadline=None)
def test_the_best_of_all_spans(seed: int, tokens: int, count: int, longest: int) -> None:
    start, end, allowed = inputs(seed, tokens)
    every, null = searched(start, end, allowed, longest)
    spans, null_score = decode_spans(start, end, allowed, count, longest)
    assert null_score == pytest.approx(null, rel=1e-4, abs=1e-7)
    scored = {(first, last): score for first, last, score in spans if score > 0}
    for span, score in scored.items():
        assert score == pytest.approx(every[span], rel=1e-4, abs=1e-7)
    best = sorted(every.values(), reverse=True)[:count]
    assert sorted(scored.values(), reverse=True) == pytest.approx(best, rel=1e-4, abs=1e-7)
    assert [score for *_, score in spans] == sorted((score for *_, score in spans), reverse=True)


def test_what_may_not_be_in_an_answer_has_no_share() -> None:
    start, end, allowed = inputs(1, 12)
    louder = np.where(allowed, start, start + 90).astype(np.float32)
    assert decode_spans(louder, end, allowed, 5, 4) == decode_spans(start, end, allowed, 5, 4)


def test_the_logits_are_not_changed() -> None:
    start, end, allowed = inputs(2, 12)
    copies = start.copy(), end.copy(), allowed.copy()
    decode_spans(start, end, allowed, 5, 4)
    for after, copy in zip((start, end, allowed), copies, strict=True):
        np.testing.assert_array_equal(after, copy)


def test_large_logits_do_not_overflow() -> None:
    start, end, allowed = inputs(3, 12)
    spans, _ = decode_spans(1000 * start, 1000 * end, allowed, 1, 12)
    assert all(np.isfinite(score) for *_, score in spans)


def test_nothing_allowed_but_the_first_token() -> None:
    start, end, allowed = inputs(4, 6)
    allowed[1:] = False
    spans, null_score = decode_spans(start, end, allowed, 3, 15)
    assert null_score == pytest.approx(1.0)
    assert all(score == 0 for *_, score in spans)
