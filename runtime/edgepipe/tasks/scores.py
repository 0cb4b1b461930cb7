"""Logits to scores, as numpy computes them in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Scores = NDArray[np.float32]


def softmax(logits: Scores) -> Scores:
    """Softmax over the last axis of float32[..., labels], shifted by the maximum so that exp cannot overflow."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Scores = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: Scores) -> Scores:
    """The logistic function of each of float32[..., labels]."""
    with np.errstate(over="ignore"):  # exp of a large positive number is inf, and 1 / inf the right 0
        probabilities: Scores = np.float32(1.0) / (np.float32(1.0) + np.exp(-logits))
    return probabilities


def identity(logits: Scores) -> Scores:
    """The logits themselves."""
    return logits


def best_indices(scores: Scores, count: int) -> list[int]:
    """Indices of the `count` highest of float32[n], best first, those of equal scores in their order.

    Cheaper than sorting all of a vocabulary: only what can be among the best is sorted.
    """
    if count >= len(scores):
        return [int(index) for index in np.argsort(-scores, kind="stable")]
    least = np.partition(scores, -count)[-count]
    candidates = np.flatnonzero(scores >= least)
    order = candidates[np.argsort(-scores[candidates], kind="stable")]
    return [int(index) for index in order[:count]]
