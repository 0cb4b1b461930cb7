"""How alike embeddings are, and how well they follow people's scores."""

from __future__ import annotations

import random

import numpy as np
import pytest

from edgepipe_export.evaluation.metrics.embedding_similarity import (
    compare_embeddings,
    recognize,
    similarity_correlation,
    spearman,
    unit_vectors,
)


def test_spearman_shares_the_ranks_of_ties() -> None:
    generator = random.Random(0)
    one, other = ([float(generator.randint(0, 5)) for _ in range(30)] for _ in range(2))

    def ranks(values: list[float]) -> list[float]:
        return [sum(v < value for v in values) + (values.count(value) + 1) / 2 for value in values]

    expected = np.corrcoef(ranks(one), ranks(other))[0, 1]
    assert spearman(np.array(one), np.array(other)) == pytest.approx(expected)
    assert spearman(np.array([1.0, 2, 3]), np.array([10.0, 20, 30])) == pytest.approx(1)


def test_likeness() -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 4))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert compare_embeddings(unit, unit) == {
        name: pytest.approx(1) for name in ("cosine_mean", "cosine_min", "rank_agreement")
    }
    assert compare_embeddings(unit, unit[::-1])["cosine_mean"] < 1
    assert compare_embeddings(unit, -unit)["cosine_min"] == pytest.approx(-1)


def test_where_all_are_equal_there_is_nothing_to_rank() -> None:
    assert spearman(np.array([2.0, 2, 2]), np.array([1.0, 2, 3])) == 1


def test_two_texts_have_no_order_to_agree_on() -> None:
    unit = np.eye(2)
    assert compare_embeddings(unit, unit) == {"cosine_mean": 1, "cosine_min": 1}


def test_a_text_is_the_mean_of_its_tokens_at_length_one() -> None:
    found = unit_vectors([[[[6.0, 0.0], [0.0, 8.0]]], [[[0.0, 0.0]]]])
    assert found.tolist() == [pytest.approx([0.6, 0.8]), [0, 0]]


def test_pairs_follow_each_other_with_their_score_at_the_first() -> None:
    same, near, far = [[[1.0, 0.0]]], [[[1.0, 1.0]]], [[[0.0, 1.0]]]
    results = [same, same, same, near, same, far]
    gold = [5.0, None, 3.0, None, 1.0, None]
    assert similarity_correlation(results, gold) == {"spearman": pytest.approx(1)}
    assert similarity_correlation(results, [1.0, None, 3.0, None, 5.0, None]) == {"spearman": pytest.approx(-1)}


def test_a_text_is_known_by_its_nearest_vector() -> None:
    texts = [np.array([[[1.0, 0.0]]]), np.array([[[0.0, 1.0]]])]
    twice = texts[:1] * 2  # texts with equal vectors count as one
    for expected, got, distance, known in (
        (texts, texts, 0, True),
        (texts, texts[::-1], 1, False),
        (twice, twice, 0, True),
    ):
        largest, recognized = recognize(expected, got)
        assert (largest, recognized.tolist()) == (distance, [known, known])
