"""Recorded figures beside those that were measured again."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from edgepipe.bundle.manifest import Parity
from edgepipe.checking.reproduction import ReproducedFigure, compare_parity, describe_reproduction


@pytest.mark.parametrize(
    ("recorded", "found", "tolerance", "expected"),
    [
        pytest.param(0.99, 0.985, 0.01, True, id="within"),
        pytest.param(0.99, 0.97, 0.01, False, id="beyond"),
        pytest.param(math.inf, math.inf, 0.01, True, id="both_infinite"),
        pytest.param(0.5, math.inf, 0.01, False, id="infinite"),
        pytest.param(0.5, math.nan, 0.01, False, id="no_number"),
        pytest.param(0.5, None, None, None, id="not_measured"),
    ],
)
def test_a_figure_is_reproduced_within_its_tolerance(
    recorded: float, found: float | None, tolerance: float | None, expected: bool | None
) -> None:
    figure = ReproducedFigure("int8", "figures.accuracy", recorded, found, tolerance)
    assert figure.reproduced is expected
    assert figure.to_record()["reproduced"] is expected


def test_it_is_told_in_sentences() -> None:
    figures = [
        ReproducedFigure("fp32", "label_agreement", 1.0, 1.0, 0.01),
        ReproducedFigure("int8", "label_agreement", 0.99, 0.9, 0.01),
        ReproducedFigure("int8", "figures.kl", 0.001, 0.001, 0.0001),
        ReproducedFigure("int8", "max_score_diff", 0.1, obstacle="nobody looked"),
        ReproducedFigure("w8", "max_score_diff", 0.1, obstacle="nobody looked"),
    ]
    assert list(describe_reproduction(figures)) == [
        "fp32: 1 of 1 recorded figures came out the same",
        "int8: 1 of 2 recorded figures came out the same",
        "int8: label_agreement is 0.9 here, recorded is 0.99 (tolerance 0.01)",
        "int8, w8: 2 recorded figures were not measured: nobody looked",
    ]
    assert list(describe_reproduction([])) == []


RECORDED = Parity(
    "fp32", 100, {"logits": 0.4}, 0.1, 0.98, "", True,
    {"kl": 0.001, "accuracy": 0.9, "perplexity": 40.0, "drop_low": -0.2}, 0, None, "abc",
)  # fmt: skip


def compare(**changes: Any) -> dict[str, bool | None]:
    found = compare_parity("int8", RECORDED, replace(RECORDED, **changes))
    return {each.name: each.reproduced for each in found}


def test_the_same_once_more() -> None:
    names = {"max_abs_diff.logits", "max_score_diff", "label_agreement"}
    names |= {f"figures.{name}" for name in RECORDED.figures}
    assert compare() == dict.fromkeys(names, True)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        pytest.param({"max_abs_diff": {"logits": 0.49}, "label_agreement": 0.985}, set(), id="small"),
        pytest.param({"max_abs_diff": {"logits": 0.51}}, {"max_abs_diff.logits"}, id="largest_difference"),
        pytest.param({"label_agreement": 0.96}, {"label_agreement"}, id="agreement"),
        pytest.param({"figures": {**RECORDED.figures, "kl": 0.002}}, {"figures.kl"}, id="a_small_mean"),
        pytest.param({"figures": {**RECORDED.figures, "accuracy": 0.88}}, {"figures.accuracy"}, id="metric"),
        pytest.param({"figures": {**RECORDED.figures, "perplexity": 40.3}}, set(), id="perplexity_within"),
        pytest.param({"figures": {**RECORDED.figures, "perplexity": 41}}, {"figures.perplexity"}, id="perplexity"),
        pytest.param({"figures": {**RECORDED.figures, "drop_low": -0.6}}, set(), id="interval"),
    ],
)
def test_what_is_another(changes: dict[str, Any], names: set[str]) -> None:
    assert {name for name, same in compare(**changes).items() if not same} == names


@pytest.mark.parametrize(
    ("changes", "obstacle"),
    [
        ({"texts": 90}, "they were measured on 100 inputs, and not on these 90"),
        ({"data_sha256": "def"}, "they were measured on other data (--calibration)"),
        ({"device": "openvino"}, "they were measured on cpu (--device cpu)"),
    ],
    ids=["inputs", "data", "device"],
)
def test_what_cannot_be_compared(changes: dict[str, Any], obstacle: str) -> None:
    found = list(compare_parity("int8", RECORDED, replace(RECORDED, **changes)))
    assert {each.obstacle for each in found} == {obstacle}
    assert {each.reproduced for each in found} == {None}


def test_a_figure_that_the_comparison_lacks() -> None:
    [found] = [
        each for each in compare_parity("int8", RECORDED, replace(RECORDED, max_score_diff=None)) if each.obstacle
    ]
    assert (found.name, found.obstacle) == ("max_score_diff", "this comparison does not give it")
