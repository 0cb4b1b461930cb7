"""Embeddings: how alike those of two models are, and how well their similarities follow those that people gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe_export.evaluation.tolerances import ROUNDING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float64]

# Every text is ranked against every other: the square of this many.
_RANKED = 500


def similarity_correlation(results: Sequence[Any], gold: Sequence[float | None]) -> Mapping[str, float]:
    """Spearman's correlation of the cosines of pairs with their scores.

    Args:
        results: Hidden states of texts, nested lists [1, tokens, hidden]: the two of a pair follow each other.
        gold: The score of each pair, at its first text.
    """
    unit = unit_vectors(results)
    cosines = (unit[0::2] * unit[1::2]).sum(axis=1)
    return {"spearman": spearman(cosines, np.array(gold[0::2], np.float64))}


def compare_embeddings(expected: Vectors, got: Vectors) -> Mapping[str, float]:
    """How alike embeddings of the same texts are.

    Args:
        expected: float64[texts, hidden] of length 1.
        got: The same of the other model.

    Returns:
        ``cosine_mean`` and ``cosine_min`` over the texts; and ``rank_agreement``, the mean over texts of Spearman's
        correlation of their cosines with all others in either model (of the first 500 texts).
    """
    cosines = (expected * got).sum(axis=1)
    figures = {"cosine_mean": float(cosines.mean()), "cosine_min": float(cosines.min())}
    count = min(len(expected), _RANKED)
    if count > 2:
        both = [unit[:count] @ unit[:count].T for unit in (expected, got)]
        others = ~np.eye(count, dtype=bool)
        rows = [spearman(both[0][row][others[row]], both[1][row][others[row]]) for row in range(count)]
        figures["rank_agreement"] = float(np.mean(rows))
    return figures


def spearman(one: Vectors, other: Vectors) -> float:
    """Spearman's rank correlation; values that are equal share a rank. 1 where all of one are equal."""
    ranks = [_ranks(values) for values in (one, other)]
    deviations = [rank - rank.mean() for rank in ranks]
    norm = float(np.linalg.norm(deviations[0]) * np.linalg.norm(deviations[1]))
    return float(deviations[0] @ deviations[1]) / norm if norm else 1.0


def _ranks(values: Vectors) -> Vectors:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    means: Vectors = (ends - (counts - 1) / 2)[inverse]
    return means


def recognize(expected: Sequence[Vectors], got: Sequence[Vectors]) -> tuple[float, NDArray[np.bool_]]:
    """How well the vectors of one model stand for the same texts as those of another; both by the tokens' mean.

    Returns:
        The largest cosine distance between the two vectors of a text; and, bool[texts], whether a text's vector `got`
        is nearer to its own of `expected` than to that of any other text (texts with equal vectors count as one).
    """
    cosines = unit_vectors(got) @ unit_vectors(expected).T
    own = np.diagonal(cosines)
    recognized: NDArray[np.bool_] = own >= cosines.max(axis=1) - ROUNDING
    return float(1 - own.min()), recognized


def unit_vectors(results: Sequence[Any]) -> Vectors:
    """The mean of each text's token vectors, scaled to length 1: float64[texts, hidden]."""
    means = np.stack([np.asarray(result, np.float64).mean(axis=(0, 1)) for result in results])
    unit: Vectors = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return unit
