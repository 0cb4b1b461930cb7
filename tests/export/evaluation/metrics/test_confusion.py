"""What is decided otherwise, counted and told in people's words."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pytest

from edgepipe.errors import TaskError
from edgepipe_export.evaluation.metrics.confusion import (
    ChangedExample,
    Choice,
    Confusion,
    compare_choices,
    read_confusion,
)
from edgepipe_export.evaluation.tasks import TASK_EVALUATIONS, find_evaluation


def label(name: str, score: float) -> list[dict[str, Any]]:
    return [{"label": name, "score": score}]


def compare(task: str, expected: list[Any], got: list[Any], gold: Any = None) -> Confusion:
    own = find_evaluation(task)
    inputs = [f"text {number}" for number in range(len(expected))]
    found = compare_choices(inputs, expected, got, gold, own.read_decisions, own.names)
    assert found is not None
    return found


def test_labels_are_counted_and_flips_told_from_the_right_answers() -> None:
    expected = [label("a", 0.9), label("a", 0.6), label("b", 0.7), label("b", 0.8)]
    got = [label("a", 0.8), label("b", 0.5), label("a", 0.9), label("b", 0.8)]
    found = compare("text-classification", expected, got, ("a", "a", "a", "b"))
    assert (found.decisions, found.changed) == (4, 2)
    assert set(found.counts) == {("a", "a", 1), ("a", "b", 1), ("b", "a", 1), ("b", "b", 1)}
    assert (found.negative_flips, found.positive_flips) == (1, 1)
    assert found.examples == (  # the surest first
        ChangedExample("text 2", "", Choice("b", 0.7), Choice("a", 0.9), "a"),
        ChangedExample("text 1", "", Choice("a", 0.6), Choice("b", 0.5), "a"),
    )


def test_without_right_answers_there_are_no_flips() -> None:
    found = compare("text-classification", [label("a", 0.9)], [label("b", 0.9)])
    assert (found.negative_flips, found.positive_flips) == (None, None)
    assert found.examples[0].gold is None


def test_a_token_without_a_label_is_outside() -> None:
    token = {"entity": "B-PER", "score": 0.9, "index": 3, "word": "Ada", "start": 0, "end": 3}
    found = compare("token-classification", [[token]], [[]])
    assert found.counts == (("B-PER", "O", 1),)
    assert found.examples[0].place == "Ada"
    assert found.examples[0].candidate == Choice("O", None)


@pytest.mark.parametrize("nested", [False, True])
def test_masks_are_numbered_where_there_are_several(nested: bool) -> None:
    one, other = (
        [{"score": 0.5, "token": number, "token_str": word, "sequence": ""}] for number, word in ((7, "x"), (8, "y"))
    )
    expected, got = ([one, one], [one, other]) if nested else (one, other)
    found = compare("fill-mask", [expected], [got])
    assert found.counts == ()  # a vocabulary is no set of labels
    [example] = found.examples
    assert (example.place, example.reference.label, example.candidate.label) == ("mask 2" if nested else "", "x", "y")


def test_answers_are_their_texts() -> None:
    expected = [{"score": 0.5, "start": 0, "end": 3, "answer": "Ada"}]
    got = {"score": 0.4, "start": 0, "end": 0, "answer": ""}
    found = compare("question-answering", [expected], [got], (("Ada", "Ada Lovelace"),))
    assert found.examples == (ChangedExample("text 0", "", Choice("Ada", 0.5), Choice("no answer", 0.4), "Ada"),)
    assert found.negative_flips is None


def test_vectors_decide_nothing() -> None:
    own = find_evaluation("feature-extraction")
    assert compare_choices(["a"], [[[[1.0]]]], [[[[0.5]]]], None, own.read_decisions, own.names) is None


def test_fifty_examples_are_kept_and_all_are_counted() -> None:
    scores = [number / 100 for number in range(60)]
    found = compare("text-classification", [label("a", score) for score in scores], [label("b", 0.5)] * 60)
    assert found.changed == 60
    assert [example.reference.score for example in found.examples] == sorted(scores, reverse=True)[:50]


def test_what_is_no_number_comes_first() -> None:
    found = compare("text-classification", [label("a", 1.0), label("a", 0.9)], [label("b", 1.0), label("b", math.nan)])
    assert found.examples[0].input == "text 1"


def test_it_comes_back_from_json_as_it_was() -> None:
    found = compare("text-classification", [label("a", 0.9)], [label("b", 0.8)], ("b",))
    assert read_confusion(json.loads(json.dumps(asdict(found)))) == found


def test_labels_are_those_of_tasks_that_classify() -> None:
    with_labels = {task for task, own in TASK_EVALUATIONS.items() if own.names.labels}
    assert with_labels == {task for task in TASK_EVALUATIONS if task.endswith("classification")}
    with pytest.raises(TaskError):
        find_evaluation("text-generation")
