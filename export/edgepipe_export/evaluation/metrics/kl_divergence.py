"""Kullback-Leibler divergence of a variant's distributions from the reference's, read from their logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensors = Mapping[str, NDArray[Any]]

# Outputs that choose one token of a text, where others choose one label of each row.
_OVER_TOKENS = ("start_logits", "end_logits")


@dataclass(slots=True)
class MeanDivergence:
    """A mean over distributions, gathered batch by batch.

    Attributes:
        total: The sum so far, in nats.
        count: How many distributions.
    """

    total: float = 0.0
    count: int = 0

    @property
    def mean(self) -> float | None:
        """Nats a distribution; None where there was none."""
        return self.total / self.count if self.count else None

    def add(self, expected: Tensors, got: Tensors, mask: NDArray[Any] | None) -> None:
        """Take in the outputs of a batch.

        Args:
            expected: The reference's outputs; those that are no logits are passed over.
            got: The variant's.
            mask: int64[batch, length], 0 where a token is padding.
        """
        for name in expected.keys() & got.keys():
            one, other = (tensors[name].astype(np.float64) for tensors in (expected, got))
            if one.shape != other.shape or one.ndim < 2 or one.shape[-1] < 2:
                continue
            if name in _OVER_TOKENS and mask is not None:
                one, other = (np.where(mask == 1, logits, -1e9) for logits in (one, other))
                self._add(one, other)
            elif name == "logits" and one.ndim == 3 and mask is not None and mask.shape == one.shape[:2]:
                self._add(one[mask == 1], other[mask == 1])
            elif name == "logits":
                self._add(one, other)

    def _add(self, expected: NDArray[np.float64], got: NDArray[np.float64]) -> None:
        each = divergences(log_softmax(expected), log_softmax(got))
        self.total += float(each.sum())
        self.count += each.size


def divergences(expected: NDArray[np.float64], got: NDArray[np.float64]) -> NDArray[np.float64]:
    """The divergence of each distribution, in nats, from the logarithms of probabilities along the last axis."""
    each: NDArray[np.float64] = (np.exp(expected) * (expected - got)).sum(axis=-1)
    return each


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithms of the probabilities along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
