"""What is left to draw from: scores of tokens that cannot be drawn become minus infinity.

Each takes scores float32[rows, tokens] and changes them in place. `keep` is the least number of tokens that are left.
What each keeps is what the class of transformers (5.23, ``generation/logits_process.py``) named in its docstring keeps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepipe.numerics import cumulative_sum, kth_largest, log_softmax, softmax, top_indices

# The entropy of top_h is that of as many of the likeliest tokens.
_TOP_H_TOKENS = 100


def temperature(scores: NDArray[np.float32], value: float) -> None:
    """Divide (``TemperatureLogitsWarper``)."""
    scores /= np.float32(value)


def top_h(scores: NDArray[np.float32], share: float) -> None:
    """The likeliest tokens that together hold a share of the entropy (``TopHLogitsWarper``).

    Potraghloo et al., Top-H Decoding, arXiv:2509.02510.
    """
    order = np.stack([top_indices(row, min(_TOP_H_TOKENS, row.size)) for row in scores])
    log_probabilities = log_softmax(np.take_along_axis(scores, order, axis=1))
    terms = -np.exp(log_probabilities) * log_probabilities
    terms[np.isnan(terms)] = 0.0  # no probability, no entropy
    kept = cumulative_sum(terms) <= terms.sum(axis=1, keepdims=True) * np.float32(share)
    kept[:, 0] = True
    removed = np.ones(scores.shape, dtype=bool)
    np.put_along_axis(removed, order, ~kept, axis=1)
    scores[removed] = -np.inf


def top_k(scores: NDArray[np.float32], k: int, keep: int = 1) -> None:
    """The `k` likeliest tokens, and those as likely as the last of them (``TopKLogitsWarper``).

    Fan et al., Hierarchical Neural Story Generation, arXiv:1805.04833, section 5.4.
    """
    for row in scores:
        row[row < kth_largest(row, min(max(k, keep), row.size))] = -np.inf


def top_p(scores: NDArray[np.float32], mass: float, keep: int = 1) -> None:
    """The fewest of the likeliest tokens with this probability together (``TopPLogitsWarper``).

    Holtzman et al., The Curious Case of Neural Text Degeneration, arXiv:1904.09751, section 3.1.
    """
    order = np.argsort(scores, axis=1)
    removed = cumulative_sum(softmax(np.take_along_axis(scores, order, axis=1))) <= np.float32(1 - mass)
    removed[:, -keep:] = False
    _remove(scores, order, removed)


def min_p(scores: NDArray[np.float32], share: float, keep: int = 1) -> None:
    """Tokens at least this share as likely as the likeliest (``MinPLogitsWarper``).

    Nguyen et al., Min-p Sampling, arXiv:2407.01082, section 3.
    """
    probabilities = softmax(scores)
    _cut(scores, probabilities, np.float32(share) * probabilities.max(axis=1, keepdims=True), keep)


def typical_p(scores: NDArray[np.float32], mass: float, keep: int = 1) -> None:
    """The tokens whose information is nearest to the expected, with this probability (``TypicalLogitsWarper``).

    Meister et al., Locally Typical Sampling, arXiv:2202.00666, section 4.
    """
    normalized = log_softmax(scores.copy())
    with np.errstate(invalid="ignore"):
        terms = normalized * np.exp(normalized)
    distance = np.abs(-normalized + np.nansum(terms, axis=1, keepdims=True))
    order = np.argsort(distance, axis=1)
    ordered = np.take_along_axis(distance, order, axis=1)
    masses = cumulative_sum(softmax(np.take_along_axis(scores, order, axis=1)))
    last = np.minimum((masses < np.float32(mass)).sum(axis=1, keepdims=True), scores.shape[1] - 1)
    removed = ordered > np.take_along_axis(ordered, last, axis=1)
    removed[:, :keep] = False
    _remove(scores, order, removed)


def epsilon_cutoff(scores: NDArray[np.float32], epsilon: float, keep: int = 1) -> None:
    """Tokens at least this likely (``EpsilonLogitsWarper``).

    Hewitt et al., Truncation Sampling as Language Model Desmoothing, arXiv:2210.15191, section 4.
    """
    _cut(scores, softmax(scores), np.float32(epsilon), keep)


def eta_cutoff(scores: NDArray[np.float32], epsilon: float, keep: int = 1) -> None:
    """Tokens at least this likely, or less where the entropy is high (``EtaLogitsWarper``).

    Hewitt et al., Truncation Sampling as Language Model Desmoothing, arXiv:2210.15191, section 4.
    """
    probabilities = softmax(scores)
    normalized = log_softmax(scores.copy())
    # As torch's Categorical: minus infinity counts as the smallest number, so that it adds nothing.
    terms = np.maximum(normalized, np.finfo(np.float32).min) * probabilities
    entropy = -terms.sum(axis=1, keepdims=True)
    eta = np.minimum(np.float32(epsilon), np.sqrt(np.float32(epsilon)) * np.exp(-entropy))
    _cut(scores, probabilities, eta, keep)


def _cut(
    scores: NDArray[np.float32], probabilities: NDArray[np.float32], least: np.float32 | NDArray[np.float32], keep: int
) -> None:
    kept = [kth_largest(row, min(keep, row.size)) for row in scores]
    scores[(probabilities < least) & (scores < np.array(kept, dtype=np.float32)[:, None])] = -np.inf


def _remove(scores: NDArray[np.float32], order: NDArray[np.int64], removed: NDArray[np.bool_]) -> None:
    found = np.empty_like(removed)
    np.put_along_axis(found, order, removed, axis=1)
    scores[found] = -np.inf
