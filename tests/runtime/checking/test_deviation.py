"""What is rounding and what is not: on the same kind of machine, and on another."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgepipe.checking.deviation import compare_rows
from edgepipe.checking.probes import Rows
from edgepipe.checking.sketch import sketch

PROBES = 12
TOLERANCE = 1e-4


def logits(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((PROBES, 3)) * 3


def moved(values: np.ndarray, size: float, seed: int = 1) -> np.ndarray:
    return values + size * 3 * np.random.default_rng(seed).standard_normal(values.shape)


def rows(values: np.ndarray) -> list[Rows]:
    return [({"logits": sketch(each, logits=True)},) for each in values]


def distance(values: np.ndarray) -> float:
    """How far from fp32, as a share of its size."""
    return float(np.linalg.norm(values - EXACT) / np.linalg.norm(EXACT))


EXACT = logits()
QUANTIZED = moved(EXACT, 0.05)


@pytest.mark.parametrize(
    ("got", "elsewhere", "passes"),
    [
        pytest.param(QUANTIZED, False, True, id="the_same"),
        pytest.param(moved(QUANTIZED, 1e-5, 2), False, True, id="rounding"),
        pytest.param(moved(QUANTIZED, 1e-3, 2), False, False, id="more_than_rounding"),
        pytest.param(moved(QUANTIZED, 1e-3, 2), True, True, id="rounding_elsewhere"),
        pytest.param(moved(EXACT, 0.05, 3), True, True, id="as_near_to_fp32"),
        pytest.param(moved(EXACT, 0.05, 3), False, False, id="as_near_to_fp32_on_the_same_machine"),
        pytest.param(moved(EXACT, 0.15, 3), True, False, id="farther_from_fp32"),
        pytest.param(EXACT, True, False, id="fp32_itself"),
        pytest.param(QUANTIZED[:, ::-1], True, False, id="labels_turned"),
    ],
)
def test_a_quantized_variant(got: np.ndarray, elsewhere: bool, passes: bool) -> None:
    found = compare_rows(rows(got), rows(QUANTIZED), rows(EXACT), TOLERANCE, elsewhere=elsewhere)
    assert found.passed is passes
    assert found.exported == pytest.approx(distance(QUANTIZED), rel=1e-4)


@pytest.mark.parametrize(("seed", "passes"), [(4, True), (6, False)], ids=["part_of_its_error", "another_error"])
def test_a_variant_that_is_nearer_to_fp32(seed: int, passes: bool) -> None:
    """An engine that rounds less often is nearer with a part of the same error; other weights have another error."""
    exact = np.random.default_rng(0).standard_normal((PROBES, 32)) * 3
    weights, activations, error = (
        moved(np.zeros_like(exact), size, each) for size, each in ((0.02, 4), (0.05, 5), (0.02, seed))
    )
    own = rows(exact + weights + activations)
    found = compare_rows(rows(exact + error), own, rows(exact), TOLERANCE, elsewhere=True)
    assert found.from_fp32 < 0.5 * found.exported
    assert found.passed is passes


@pytest.mark.parametrize(("probes", "passes"), [(4, True), (400, False)], ids=["few_numbers", "many_numbers"])
def test_how_much_farther_depends_on_how_much_there_is_to_tell(probes: int, passes: bool) -> None:
    """Of a handful of probes the mean is uncertain: another kernel's rounding is now and then 1.7 times as far."""
    exact = np.random.default_rng(0).standard_normal((probes, 2))
    error = np.random.default_rng(1).choice([-0.01, 0.01], (probes, 2))
    other = np.random.default_rng(2).choice([-0.017, 0.017], (probes, 2))
    found = compare_rows(rows(exact + other), rows(exact + error), rows(exact), TOLERANCE, elsewhere=True)
    assert found.from_fp32 / found.exported == pytest.approx(1.7, rel=1e-3)
    assert found.passed is passes


def test_one_probe_that_is_far_counts_among_many_that_are_not() -> None:
    got = EXACT.copy()
    got[7, 1] += 0.01
    found = compare_rows(rows(got), rows(EXACT), rows(EXACT), TOLERANCE, elsewhere=False)
    assert (found.passed, found.worst, found.output) == (False, 7, "logits")


def test_decisions_that_nothing_explains() -> None:
    got = EXACT.copy()
    got[2] = got[2][[1, 2, 0]]
    found = compare_rows(rows(got), rows(EXACT), rows(EXACT), TOLERANCE, elsewhere=False)
    assert found.decisions == 1
    assert found.decided == PROBES


def test_an_output_that_is_missing_or_has_another_shape() -> None:
    wanted = rows(EXACT)
    for got in ([({},)] * PROBES, rows(EXACT[:, :2]), [(*each, *each) for each in wanted]):
        found = compare_rows(got, wanted, wanted, TOLERANCE, elsewhere=True)
        assert (found.passed, found.from_export) == (False, math.inf)
