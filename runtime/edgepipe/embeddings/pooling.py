"""Token vectors to one vector a text.

Each function does on numpy what the mode of its name does in ``Pooling._forward_padded`` of sentence-transformers 6.2
(``sentence_transformers/sentence_transformer/modules/pooling.py``), so padding on either side is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgepipe.errors import InputError

Vectors = NDArray[np.float32]
Mask = NDArray[np.int64]


# Divisors are at least this, as in the reference: a text whose every token is left out gives zeros.
_LEAST: np.float32 = np.float32(1e-9)


def cls_token(hidden: Vectors, mask: Mask, whole: Mask) -> Vectors:
    """The first token that counts."""
    first: Vectors = hidden[np.arange(len(hidden)), mask.argmax(axis=1)]
    return first


def max_over_tokens(hidden: Vectors, mask: Mask, whole: Mask) -> Vectors:
    """The largest value of each dimension."""
    largest: Vectors = np.where(mask[..., None] == 0, np.float32(-np.inf), hidden).max(axis=1)
    return largest


def mean(hidden: Vectors, mask: Mask, whole: Mask) -> Vectors:
    """The mean of the tokens."""
    vectors: Vectors = _weighted_sum(hidden, mask) / _total(mask)
    return vectors


def mean_by_root_of_length(hidden: Vectors, mask: Mask, whole: Mask) -> Vectors:
    """The sum of the tokens, divided by the square root of their number."""
    roots: Vectors = np.sqrt(_total(mask))
    vectors: Vectors = _weighted_sum(hidden, mask) / roots
    return vectors


def weighted_mean(hidden: Vectors, mask: Mask, whole: Mask) -> Vectors:
    """The mean with weights 1, 2, 3 ... by position; a prompt that is left out still counts as positions."""
    positions = np.arange(1, hidden.shape[1] + 1) - whole.argmax(axis=1)[:, None]
    weights = mask * positions
    vectors: Vectors = _weighted_sum(hidden, weights) / _total(weights)
    return vectors


def last_token(hidden: Vectors, mask: Mask, whole: Mask) -> Vectors:
    """The last token that counts; zeros where none does."""
    rows = np.arange(len(hidden))
    last = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    vectors: Vectors = hidden[rows, last] * mask[rows, last, None].astype(np.float32)
    return vectors


# The names of sentence-transformers. Each takes float32[batch, tokens, hidden]; int64[batch, tokens], 1 where a token
# counts; and the same with the prompt counted. It returns float32[batch, hidden].
MODES: dict[str, Callable[[Vectors, Mask, Mask], Vectors]] = {
    "cls": cls_token,
    "max": max_over_tokens,
    "mean": mean,
    "mean_sqrt_len_tokens": mean_by_root_of_length,
    "weightedmean": weighted_mean,
    "lasttoken": last_token,
}


def pool(hidden: Vectors, attention_mask: Mask, modes: Sequence[str], prompt_length: int = 0) -> Vectors:
    """Pool a batch.

    Args:
        hidden: float32[batch, tokens, hidden].
        attention_mask: int64[batch, tokens], 0 for padding, on either side.
        modes: Names in :data:`MODES`; of several the results are put side by side.
        prompt_length: How many tokens at the start of each text do not count.

    Returns:
        float32[batch, hidden · number of modes].

    Raises:
        InputError: a mode is unknown.
    """
    check_modes(modes)
    mask = attention_mask
    if prompt_length:
        starts = attention_mask.argmax(axis=1)[:, None] + prompt_length
        mask = np.where(np.arange(attention_mask.shape[1]) < starts, 0, attention_mask)
    pooled: Vectors = np.concatenate([MODES[mode](hidden, mask, attention_mask) for mode in modes], axis=-1)
    return pooled


def check_modes(modes: Sequence[str]) -> None:
    """Refuse an unknown mode, or none.

    Raises:
        InputError: the message has those there are.
    """
    unknown = [mode for mode in modes if not isinstance(mode, str) or mode not in MODES]
    if unknown or not modes:
        raise InputError(f"pooling must be one or several of {', '.join(MODES)}, got {list(modes)!r:.200}")


def normalize(vectors: Vectors) -> Vectors:
    """Vectors of length 1 along the last axis, those of length 0 left alone (torch.nn.functional.normalize)."""
    lengths = np.sqrt(np.square(vectors).sum(axis=-1, keepdims=True))
    unit: Vectors = vectors / np.maximum(lengths, np.float32(1e-12))
    return unit


def _weighted_sum(hidden: Vectors, weights: Mask) -> Vectors:
    total: Vectors = (weights.astype(np.float32)[:, None, :] @ hidden)[:, 0]
    return total


def _total(weights: Mask) -> Vectors:
    total: Vectors = np.maximum(weights.sum(axis=1, keepdims=True).astype(np.float32), _LEAST)
    return total
