"""Candidates from the text itself: what came behind the last tokens where they occurred before.

Saxena, Prompt Lookup Decoding, 2023 (https://github.com/apoorvumang/prompt-lookup-decoding), as transformers'
``PromptLookupCandidateGenerator`` (5.24) has it: the longest run of last tokens that occurs before, and of its places
the first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepipe.generation.search.lookahead_search import CandidateCount, Tokens


class PromptLookupCandidateGenerator:
    """Looks the last tokens up in the text; see the module."""

    def __init__(self, num_tokens: int, max_ngram_size: int) -> None:
        """Begin.

        Args:
            num_tokens: How many candidates at most.
            max_ngram_size: How many of the last tokens are looked up at most.
        """
        # A text may repeat a word now and then and yet copy nothing. So each length of a match has a count of its own.
        self._counts = {size: CandidateCount(num_tokens) for size in range(max_ngram_size, 0, -1)}
        self._tried: tuple[CandidateCount, int] | None = None

    def propose(self, ids: Tokens, most: int) -> Tokens:
        """See :class:`~edgepipe.generation.search.lookahead_search.CandidateGenerator`."""
        for size, count in self._counts.items():
            start = find_match(ids, size)
            if start is not None:
                found = ids[start : start + min(count.ask(), most)]
                self._tried = (count, len(found))
                return found
        return ids[:0]

    def learn(self, accepted: int) -> None:
        """See :class:`~edgepipe.generation.search.lookahead_search.CandidateGenerator`."""
        assert self._tried is not None  # something was proposed
        count, tried = self._tried
        count.learn(tried, accepted)


def find_match(text: NDArray[np.int64], size: int) -> int | None:
    """What lies behind the first earlier place of a text's last tokens.

    Args:
        text: int64[length].
        size: How many of the last tokens.

    Returns:
        The index of the token behind that place; None where they did not occur before.
    """
    places = len(text) - size  # the last place is that of the last tokens themselves
    if places <= 0:
        return None
    matches = text[:places] == text[-size]
    for offset in range(1, size):
        matches &= text[offset : offset + places] == text[offset - size]
    place = int(matches.argmax())
    return place + size if matches[place] else None
