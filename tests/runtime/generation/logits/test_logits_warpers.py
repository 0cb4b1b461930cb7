"""What warpers leave of scores where two are equal, or all but one would go."""

from __future__ import annotations

import numpy as np

from edgepipe.generation.logits.logits_warpers import min_p, top_k, top_p

GONE = -np.inf


def test_top_k_keeps_what_is_as_likely_as_the_last() -> None:
    scores = np.array([[3, 1, 2, 2]], dtype=np.float32)
    top_k(scores, 2)
    assert scores.tolist() == [[3, GONE, 2, 2]]


def test_top_k_of_more_than_the_vocabulary_keeps_all() -> None:
    scores = np.array([[3, 1]], dtype=np.float32)
    top_k(scores, 9)
    assert scores.tolist() == [[3, 1]]


def test_top_p_of_nothing_keeps_the_likeliest() -> None:
    scores = np.array([[3, 1, 2]], dtype=np.float32)
    top_p(scores, 0.0)
    assert scores.tolist() == [[3, GONE, GONE]]


def test_min_p_keeps_so_many_whatever_their_share() -> None:
    scores = np.array([[9, 1, 2]], dtype=np.float32)
    min_p(scores, 0.5, keep=2)
    assert scores.tolist() == [[9, GONE, 2]]
