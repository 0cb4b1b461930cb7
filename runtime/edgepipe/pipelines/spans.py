"""The likeliest answer spans of one piece of a context."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MASKED = np.float32(-10_000.0)


def best_spans(
    start_logits: NDArray[np.float32],
    end_logits: NDArray[np.float32],
    allowed: NDArray[np.bool_],
    count: int,
    max_answer_len: int,
) -> tuple[list[tuple[int, int, float]], float]:
    """Spans by the product of their start's and end's probability.

    Source: ``select_starts_ends`` and ``decode_spans`` of transformers 4.57's question answering, where the first
    token (the classification token) stands for "no answer" and is never part of a span.

    Args:
        start_logits: float32[tokens].
        end_logits: float32[tokens].
        allowed: bool[tokens], the tokens that may be in an answer.
        count: How many spans to look at, best first; those that start or end on a token that is not allowed are then
            left out.
        max_answer_len: Longest span, in tokens.

    Returns:
        The spans as (first token, last token, score), and the score of "no answer".
    """
    start, end = (_probabilities(np.where(allowed, logits, _MASKED)) for logits in (start_logits, end_logits))
    null_score = (start[0] * end[0]).item()
    start[0] = end[0] = 0.0
    scores = np.tril(np.triu(np.outer(start, end)), max_answer_len - 1)
    flat = scores.ravel()
    if count == 1:
        order = np.array([flat.argmax()])
    elif len(flat) <= count:
        order = np.argsort(-flat)
    else:
        chosen = np.argpartition(-flat, count)[:count]
        order = chosen[np.argsort(-flat[chosen])]
    firsts, lasts = np.unravel_index(order, scores.shape)
    spans = [
        (int(first), int(last), scores[first, last].item())
        for first, last in zip(firsts, lasts, strict=True)
        if allowed[first] and allowed[last]
    ]
    return spans, null_score


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exponents = np.exp(logits - logits.max())
    probabilities: NDArray[np.float32] = exponents / exponents.sum()
    return probabilities
