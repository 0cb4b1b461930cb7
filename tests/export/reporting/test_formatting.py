"""Numbers and results as a report writes them."""

from __future__ import annotations

from typing import Any

import pytest

from edgepipe_export.evaluation.tasks import TASK_EVALUATIONS
from edgepipe_export.reporting.formatting import (
    METRICS,
    QUALITY_METRICS,
    find_metric,
    format_number,
    format_result,
    format_share,
    format_size,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\u2013"), (float("inf"), "no number"), (0, "0"), (0.40113, "0.4011"), (5.7e-6, "5.7 \u00d7 10⁻⁶"),
        (147456, "147\u202f456"),
    ],
)  # fmt: skip
def test_a_number_has_about_four_digits(value: float | None, text: str) -> None:
    assert format_number(value) == text


def test_only_a_whole_share_reads_100_percent() -> None:
    assert format_share(0.999999) == "99.99 %"
    assert format_share(1.0) == "100.00 %"


def test_a_size_has_the_unit_that_suits_it() -> None:
    assert [format_size(count) for count in (12, 1500, 90_900_000, 2_000_000_000)] == [
        "12 bytes", "1.5 kB", "90.9 MB", "2.0 GB",
    ]  # fmt: skip


def test_a_metric_of_the_reference_and_an_unknown_one_have_names() -> None:
    assert find_metric("reference_accuracy").label == "accuracy, of the reference"
    assert find_metric("exactness_of_x").label == "exactness of x"


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        (None, ["\u2013"]),
        ([{"label": "good", "score": 0.61}], ["good 0.61"]),
        ([{"entity": "B-PER", "word": "Ada", "score": 0.5}], ["Ada → B-PER 0.5"]),
        ({"labels": ["a", "b"], "scores": [0.7, 0.3]}, ["a 0.7", "b 0.3"]),
        ({"question": "Who?", "context": "x" * 700}, ["question: Who?", "context: " + "x" * 591 + " …"]),
        ([1.5] * 10, ["1.5"] * 8 + ["and more"]),
    ],
)
def test_a_result_is_lines(result: Any, lines: list[str]) -> None:
    assert format_result(result) == lines


def test_the_metric_of_every_task_is_known() -> None:
    names = {entry.metric.name for entry in TASK_EVALUATIONS.values() if entry.metric is not None}
    assert names <= {*METRICS}, "add them to METRICS of edgepipe_export/reporting/formatting.py"
    assert names <= {*QUALITY_METRICS}, "add them to QUALITY_METRICS of edgepipe_export/reporting/formatting.py"
    assert {*QUALITY_METRICS} <= {*METRICS}
