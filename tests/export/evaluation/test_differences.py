"""How far tensors and results are apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgepipe_export.evaluation.differences import compare_results, compare_tensors, structure_difference
from edgepipe_export.evaluation.tasks import label_scores


def tensors(*values: float) -> dict[str, Any]:
    return {"logits": np.array([values], np.float32)}


def entry(label: str, score: float) -> dict[str, Any]:
    return {"label": label, "score": score}


def test_tensors_within_the_bound() -> None:
    found = compare_tensors(iter([(tensors(1, 100), tensors(1.00005, 100.05))]))
    assert found.close
    assert found.finite
    assert found.largest["logits"] == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize(
    ("got", "finite"),
    [(tensors(1.01, 2), True), (tensors(float("nan"), 2), False), (tensors(float("inf"), 2), False)],
)
def test_tensors_beyond_the_bound(got: dict[str, Any], finite: bool) -> None:
    found = compare_tensors(iter([(tensors(1, 2), got)]))
    assert not found.close
    assert found.finite == finite


@pytest.mark.parametrize("got", [{}, tensors(1, 2, 3), tensors(1, 2) | {"more": np.zeros(1, np.float32)}])
def test_other_tensors(got: dict[str, Any]) -> None:
    found = compare_tensors(iter([(tensors(1, 2), got)]))
    assert not found.close
    assert max(found.largest.values()) == float("inf")


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ([entry("a", 0.5)], entry("a", 0.5)),
        ([entry("a", 0.5)], [entry("b", 0.5)]),
        ([entry("a", 0.5)], [entry("a", 0.5002)]),
        ([entry("a", 0.5)], [entry("a", float("nan"))]),
        ([entry("a", 0.5)], [{"score": 0.5, "label": "a"}]),
        ([entry("a", 0.5)], []),
        ([entry("a", 1.0)], [entry("a", 1)]),
        ([entry("a", 0.6), entry("b", 0.4)], [entry("b", 0.4), entry("a", 0.6)]),
    ],
)
def test_results_that_differ(expected: Any, got: Any) -> None:
    assert structure_difference(expected, got) is not None


def test_results_that_are_equal_but_for_rounding_and_the_order_of_ties() -> None:
    expected = [entry("a", 0.40001), entry("b", 0.4), entry("c", 0.2)]
    got = [entry("b", 0.40001), entry("a", 0.4), entry("c", 0.2)]
    assert structure_difference(expected, got) is None
    assert structure_difference([expected[:1]], [expected[:1]]) is None


def test_scores_and_agreement() -> None:
    expected = [[entry("a", 0.9), entry("b", 0.1)], [entry("a", 0.6), entry("b", 0.4)]]
    got = [[entry("a", 0.8), entry("b", 0.2)], [entry("b", 0.51), entry("a", 0.49)]]
    found = compare_results(["one", "two"], expected, got, label_scores)
    assert found.agreement == 0.5
    assert found.largest_score == pytest.approx(0.11)
    assert found.first is not None
    assert found.first.startswith("'one': ")


def test_a_score_that_is_no_number_is_never_within_bounds() -> None:
    nan = [entry("a", float("nan"))]
    assert compare_results(["text"], [[entry("a", 1.0)]], [nan], label_scores).largest_score == float("inf")
