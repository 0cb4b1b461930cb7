"""Checks: what their rows say, what the manifest keeps of them, and how they come back from JSON."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from edgepipe_export.evaluation.checks import (
    Check,
    describe_options,
    number_or_infinity,
    rank_worst,
    read_check,
    read_disagreement,
    summarize,
)

TENSORS = Check(
    "tensors", "int8", "fp32", 4, {"logits": 0.25, "hidden": 0.5}, None, "finite", True, figures={"kl": 0.1}
)
SCORES = Check("pipeline", "int8", "fp32", 9, {"score": 0.02}, 0.875, "at least 99 %", False, "'a': b", {"f1": 0.5})


def test_a_row_says_what_was_found_and_what_decided() -> None:
    assert str(SCORES) == (
        "int8 against fp32, pipeline: score differs by up to 0.02; agreement 87.5 %; f1 0.5; 'a': b "
        "(bound: at least 99 %)"
    )
    assert "agreement" not in str(TENSORS)


def test_the_largest_difference() -> None:
    assert TENSORS.max_difference == 0.5
    assert replace(TENSORS, differences={}).max_difference is None


def test_the_worst_come_first_and_no_more_than_ten_of_them() -> None:
    assert rank_worst([0.0, 3.0, -1.0, 5.0, 3.0]) == [3, 1, 4], "of equal ones the first"
    assert rank_worst([float(number) for number in range(30)]) == list(range(29, 19, -1))
    assert rank_worst([]) == rank_worst([0.0, -2.0]) == []


def test_null_stands_for_what_is_not_finite() -> None:
    assert [number_or_infinity(value) for value in (None, 0.5)] == [math.inf, 0.5]
    record = {"check": "a", "dtype": "b", "reference": "c", "compared": 1, "agreement": None, "bound": "d"}
    found = read_check({**record, "passed": True, "differences": {"x": None, "y": 2.0}})
    assert (found.differences, found.worst) == ({"x": math.inf, "y": 2.0}, ())
    worst = {"input": "a", "reference": 1, "candidate": 2, "difference": None}
    assert read_disagreement(worst).difference == math.inf


@pytest.mark.parametrize(
    ("options", "name"), [({}, "pipeline"), ({"top_k": None, "stride": 3}, "pipeline, top_k=None, stride=3")]
)
def test_results_are_called_by_their_options(options: dict[str, object], name: str) -> None:
    assert describe_options(options) == name


def test_the_manifest_has_the_worst_of_each() -> None:
    more = replace(TENSORS, differences={"logits": 0.75}, agreement=0.5, figures={"kl": 0.3, "f1": 0.6})
    found = summarize([TENSORS, SCORES, more], texts=9, seen=2)
    assert (found.reference, found.texts, found.seen) == ("fp32", 9, 2)
    assert found.max_abs_diff == {"logits": 0.75, "hidden": 0.5}
    assert found.max_score_diff == 0.02
    assert found.label_agreement == 0.5
    assert found.bound == "finite; at least 99 %", "each once"
    assert found.figures == {"kl": 0.3, "f1": 0.6}
    assert not found.passed
    assert summarize([TENSORS], 1, 0).passed
    assert (summarize([TENSORS], 1, 0).max_score_diff, summarize([TENSORS], 1, 0).label_agreement) == (None, None)


@pytest.mark.parametrize(
    ("bound", "agreement", "figures", "said"),
    [
        ("finite", None, {}, "numbers that are not finite"),
        ("label agreement of at least 99 %", 0.9642, {}, "agreement 96.4 % (bound: label agreement of at least 99 %)"),
        (
            "f1 at most 1 points",
            0.9,
            {"f1": 0.5, "reference_f1": 0.75},
            "f1 0.5 against 0.75 (bound: f1 at most 1 points)",
        ),
        ("mean cosine", 1.0, {"cosine_mean": 0.98}, "mean cosine 0.98, 100.0 % recognized (bound: mean cosine)"),
        ("another", None, {}, "int8 against fp32, pipeline:  (bound: another)"),
    ],
)
def test_the_deciding_figure(bound: str, agreement: float | None, figures: dict[str, float], said: str) -> None:
    check = Check("pipeline", "int8", "fp32", 3, {}, agreement, bound, passed=False, figures=figures)
    assert check.deciding_figure == said
