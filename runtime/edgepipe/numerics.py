"""A graph's logits as scores, the best of many without sorting them all, and how alike token ids begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Scores are searched as a grid of at most so many columns, whose largest are compared, and of so many rows.
_COLUMNS = 2048
_STRIPES, _FEWEST_STRIPES = 32, 4


def log_softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores float32[rows, vocabulary] as logarithms of probabilities, in place."""
    exponentials = np.empty(scores.shape[1], dtype=np.float32)
    for row in scores:  # one at a time, while it is in the cache
        row -= row.max()
        row -= np.log(np.exp(row, out=exponentials).sum())
    return scores


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities over the last axis of float32[..., n], shifted by the maximum so that exp cannot overflow."""
    result: NDArray[np.float32] = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result /= result.sum(axis=-1, keepdims=True)
    return result


def cumulative_sum(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Running sums over the last axis of float32[..., n], added up in double precision as ``torch.cumsum`` does."""
    return np.cumsum(values, axis=-1, dtype=np.float64).astype(np.float32)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logistic function of each of float32[..., labels]."""
    with np.errstate(over="ignore"):  # exp of a large positive number is inf, and 1 / inf the right 0
        probabilities: NDArray[np.float32] = np.float32(1.0) / (np.float32(1.0) + np.exp(-logits))
    return probabilities


def identity(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logits themselves."""
    return logits


def kth_largest(scores: NDArray[np.float32], k: int) -> float:
    """The `k`-th largest of scores float32[n], 1 <= k <= n, equal ones counted each."""
    candidates = _at_least(scores, k)
    return float(np.partition(scores if candidates is None else scores[candidates], -k)[-k])


def top_indices(scores: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Indices of the `k` largest of scores, floats of shape [n], largest first, the earlier of equal ones first."""
    candidates = _at_least(scores, k)
    if candidates is None:
        return np.argsort(-scores, kind="stable")[:k]
    return candidates[np.argsort(-scores[candidates], kind="stable")[:k]]


def _at_least(scores: NDArray[Any], k: int) -> NDArray[np.int64] | None:
    """Indices of some of the largest scores, the `k` largest among them, ascending; None where all are needed.

    The columns' largest are at least `k` different scores. So their `k`-th is at most the `k`-th of all, and no score
    below it is among the `k` largest. Only columns whose largest reaches it are searched.
    """
    # So many that the largest seldom share one.
    columns = max(8 * k, min(_COLUMNS, scores.size // _STRIPES))
    stripes = scores.size // columns
    if stripes < _FEWEST_STRIPES:
        return None
    grid = scores[: stripes * columns].reshape(stripes, columns)
    maxima = grid.max(axis=0)
    least = np.partition(maxima, -k)[-k]
    found_columns = np.flatnonzero(~(maxima < least))  # columns with a NaN among them
    rows, found = np.nonzero(grid[:, found_columns] >= least)
    rest = np.flatnonzero(scores[grid.size :] >= least)
    candidates = np.concatenate([rows * columns + found_columns[found], rest + grid.size])
    # Fewer than k: there is a NaN.
    return candidates if k <= candidates.size < scores.size else None


def count_shared(first: Sequence[int] | NDArray[np.int64], second: Sequence[int] | NDArray[np.int64]) -> int:
    """How many tokens two sequences have in common from their first on."""
    length = min(len(first), len(second))
    differs = np.asarray(first[:length]) != np.asarray(second[:length])
    return int(differs.argmax()) if differs.any() else length
