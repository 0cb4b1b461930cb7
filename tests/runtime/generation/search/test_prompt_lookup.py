"""Candidates from the text itself, beside transformers' own."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation.candidate_generator import PromptLookupCandidateGenerator as Reference

from edgepipe.generation.search.prompt_lookup import PromptLookupCandidateGenerator, find_match

TEXTS = st.lists(st.integers(0, 3), min_size=1, max_size=24)


def propose(text: list[int], number: int, size: int) -> list[int]:
    """The candidates of one that has only been right so far."""
    candidates = PromptLookupCandidateGenerator(number, size)
    ids = np.array(text)
    while (found := candidates.propose(ids, 100)).size:
        count, tried = candidates._tried or (None, 0)
        assert count is not None
        if count._count == number or tried < count._count:
            break
        candidates.learn(tried)
    return [int(token) for token in found]


@given(TEXTS, st.integers(1, 6), st.integers(1, 4))
def test_candidates_are_those_of_transformers(text: list[int], number: int, size: int) -> None:
    reference = Reference(num_output_tokens=number, max_matching_ngram_size=size, max_length=1000)
    expected, _ = reference.get_candidates(torch.tensor([text]))
    assert propose(text, number, size) == expected[0, len(text) :].tolist()


@given(TEXTS, st.integers(1, 5))
def test_a_match_is_the_first_place_of_the_last_tokens(text: list[int], size: int) -> None:
    starts = [start for start in range(len(text) - size) if text[start : start + size] == text[len(text) - size :]]
    expected = starts[0] + size if starts else None
    assert find_match(np.array(text), size) == expected


def test_no_more_candidates_than_are_of_use() -> None:
    candidates = PromptLookupCandidateGenerator(8, 2)
    assert candidates.propose(np.array([1, 2, 3, 4, 5, 1, 2]), 1).tolist() == [3]
    assert candidates.propose(np.array([1, 2, 3, 4, 5, 1, 2]), 0).size == 0


def test_short_matches_that_fail_do_not_keep_long_ones_from_being_tried() -> None:
    candidates = PromptLookupCandidateGenerator(8, 2)
    short, long = np.array([1, 9, 8, 7, 1]), np.array([3, 4, 9, 8, 7, 3, 4])
    for _ in range(4):
        if candidates.propose(short, 100).size:
            candidates.learn(0)
    assert candidates.propose(short, 100).size == 0
    assert candidates.propose(long, 100).tolist() == [9, 8, 7]
