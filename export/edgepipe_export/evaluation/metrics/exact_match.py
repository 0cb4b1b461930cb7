"""Exact match and F1 of answers, as in SQuAD.

Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016: answers are compared in lower
case, without punctuation and articles; of several right answers the best counts.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def answer_f1(results: Sequence[Any], gold: Sequence[Sequence[str]]) -> Mapping[str, float]:
    """Exact match and F1; results are ``{"answer", ...}`` or lists of them, best first, and may have no answer."""
    exact = shared = 0.0
    for result, right in zip(results, gold, strict=True):
        best = (result[0] if result else {"answer": ""}) if isinstance(result, list) else result
        found = _words(best["answer"])
        # A question without an answer is answered right by none.
        each = [_words(answer) for answer in right] or [[]]
        exact += any(found == wanted for wanted in each)
        shared += max(_shared(found, wanted) for wanted in each)
    return {"f1": shared / len(gold), "exact_match": exact / len(gold)}


def _words(answer: str) -> list[str]:
    return _ARTICLES.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split()


def _shared(found: list[str], wanted: list[str]) -> float:
    if not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted))
