"""The best of many scores, against sorting them all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepipe.numerics import count_shared, cumulative_sum, kth_largest, log_softmax, softmax, top_indices


@settings(max_examples=150, deadline=None)
@given(
    size=st.sampled_from([1, 2, 31, 400, 1000, 2999, 6000]),
    k=st.integers(1, 60),
    different=st.sampled_from([2, 30, 10**6]),
    forbidden=st.sampled_from([0.0, 0.3, 0.999, 1.0]),
    seed=st.integers(0, 1000),
)
def test_the_best_are_those_that_sorting_finds(size: int, k: int, different: int, forbidden: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, different, size).astype(np.float32) - different / 2
    scores[generator.random(size) < forbidden] = -np.inf
    k = min(k, size)
    expected = np.argsort(-scores, kind="stable")[:k]
    assert top_indices(scores, k).tolist() == expected.tolist()
    assert kth_largest(scores, k) == scores[expected[-1]]


@pytest.mark.parametrize("k", [1, 8])
def test_nan_is_never_among_the_best(k: int) -> None:
    scores = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    scores[::2] = np.nan
    expected = [index for index in np.argsort(-scores, kind="stable") if index % 2][:k]
    assert top_indices(scores, k).tolist() == expected


def test_logarithms_of_probabilities_are_those_of_torch() -> None:
    scores = np.random.default_rng(0).normal(scale=9, size=(3, 5000)).astype(np.float32)
    scores[0, :4000] = -np.inf
    expected = torch.from_numpy(scores.copy())
    np.testing.assert_allclose(softmax(scores), expected.softmax(-1).numpy(), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(log_softmax(scores), expected.log_softmax(-1).numpy(), rtol=1e-6, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 3000), seed=st.integers(0, 10_000))
def test_running_sums_are_those_of_torch_to_the_last_bit(size: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((2, size), np.float32) / np.float32(size)
    np.testing.assert_array_equal(cumulative_sum(values), torch.cumsum(torch.from_numpy(values), -1).numpy())


@pytest.mark.parametrize(
    ("first", "second", "expected"), [([], [1], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2], 2), ([1, 2], [1, 3], 1)]
)
def test_how_much_two_sequences_have_in_common(first: list[int], second: list[int], expected: int) -> None:
    assert count_shared(first, second) == count_shared(second, first) == expected
