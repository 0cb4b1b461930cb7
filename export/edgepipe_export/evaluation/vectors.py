"""Results that are vectors (hidden states): how far they are apart, and whether one stands for the same text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float64]


def as_vectors(result: Any) -> Vectors | None:
    """A result of feature-extraction, nested lists [1, tokens, hidden], as an array; None for any other result."""
    inner = result
    for _ in range(3):
        if not isinstance(inner, list) or not inner:
            return None
        inner = inner[0]
    return np.array(result, dtype=np.float64) if isinstance(inner, float) else None


def vector_difference(expected: Vectors, got: Any, absolute: float, relative: float) -> str | None:
    """Where hidden states are apart by more than `absolute` + `relative` times the reference; None if nowhere."""
    found = as_vectors(got)
    if found is None or found.shape != expected.shape:
        shape = None if found is None else found.shape
        return f"result: an array of shape {shape} instead of {expected.shape}"
    if np.allclose(found, expected, atol=absolute, rtol=relative):
        return None
    worst = np.unravel_index(np.argmax(np.abs(found - expected)), expected.shape)
    where = "".join(f"[{index}]" for index in worst)
    return f"result{where}: {found[worst]} instead of {expected[worst]}"


def recognition(expected: Sequence[Vectors], got: Sequence[Vectors]) -> tuple[float, float]:
    """How well the vectors of one side stand for the same texts as those of the other; both by the tokens' mean.

    Returns:
        The largest cosine distance between the two vectors of a text; and the share of texts whose vector `got` is
        nearer to its own of `expected` than to that of any other text (texts with equal vectors count as one).
    """
    reference, other = unit_vectors(expected), unit_vectors(got)
    cosines = other @ reference.T
    own = np.diagonal(cosines)
    return float(1 - own.min()), float(np.mean(own >= cosines.max(axis=1) - 1e-9))


def unit_vectors(results: Sequence[Any]) -> Vectors:
    """The mean of each text's token vectors, scaled to length 1: float64[texts, hidden]."""
    means = np.stack([np.asarray(result, np.float64).mean(axis=(0, 1)) for result in results])
    unit: Vectors = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return unit
