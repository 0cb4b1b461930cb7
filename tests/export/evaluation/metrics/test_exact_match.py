"""Exact match and F1 of answers."""

from __future__ import annotations

from typing import Any

import pytest

from edgepipe_export.evaluation.metrics.exact_match import answer_f1


def test_answers() -> None:
    results: list[Any] = [{"answer": "The red House!"}, [{"answer": "a big dog"}, {"answer": "x"}], {"answer": ""}, []]
    gold = [("red house",), ("small dog", "dog"), (), ("something",)]
    assert answer_f1(results, gold) == {"exact_match": 0.5, "f1": pytest.approx((1 + 2 / 3 + 1 + 0) / 4)}


def test_a_word_counts_as_often_as_both_have_it() -> None:
    assert answer_f1([{"answer": "no no no"}], [("no yes",)]) == {"exact_match": 0, "f1": 2 / 5}


def test_an_answer_of_articles_alone_is_none() -> None:
    assert answer_f1([{"answer": "The"}], [()]) == {"exact_match": 1, "f1": 1}
    assert answer_f1([{"answer": "Theo"}], [()]) == {"exact_match": 0, "f1": 0}
