"""Accuracy of labels."""

from __future__ import annotations

import pytest

from edgepipe_export.evaluation.metrics.accuracy import candidate_accuracy, label_accuracy


def test_accuracy() -> None:
    results = [[{"label": "a", "score": 0.9}, {"label": "b", "score": 0.1}], [{"label": "b", "score": 0.6}]]
    assert label_accuracy(results, ["a", "a"]) == {"accuracy": 0.5}
    assert candidate_accuracy([{"labels": ["x", "y"], "scores": [0.9, 0.1]}], ["x"]) == {"accuracy": 1}


def test_a_result_may_be_one_label_without_a_list() -> None:
    assert label_accuracy([{"label": "a", "score": 0.9}], ["a"]) == {"accuracy": 1}


def test_a_result_without_its_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than argument 1"):
        candidate_accuracy([{"labels": ["x"], "scores": [1.0]}], ["x", "y"])
