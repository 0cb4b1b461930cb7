"""Confidence intervals: they hold the truth as often as they say, and never are narrower than one input."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pytest

from edgepipe_export.evaluation.metrics.intervals import Interval, Loss, estimate_interval, is_decided, plan_looks


def average(values: np.ndarray) -> object:
    return lambda places: 100 * float(values[list(places)].mean())


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_an_interval_holds_the_truth_nineteen_times_of_twenty(share: float) -> None:
    """Drops of paired decisions: `share` of them become wrong, and half as many right."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        drops = generator.choice([1.0, -1.0, 0.0], size=300, p=[share, share / 2, 1 - 1.5 * share])
        found = estimate_interval(average(drops), 300, step=100)
        held += found.low <= 100 * share / 2 <= found.high
    assert 0.93 <= held / 400 <= 0.99


def test_of_a_mean_it_is_that_of_the_textbook() -> None:
    values = np.random.default_rng(1).normal(size=20)
    found = estimate_interval(lambda places: float(values[list(places)].mean()), 20, step=0)
    error = values.std(ddof=1) / math.sqrt(20)
    assert (found.low + found.high) / 2 == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(2.09 * error)


def test_inputs_that_all_agree_are_not_sure() -> None:
    for count, width in ((100, 1.0), (400, 0.25)):
        found = estimate_interval(lambda places: 0.0, count, step=100)
        assert found.high == -found.low == pytest.approx(2.09 * width)
    assert estimate_interval(lambda places: 0.0, 1, step=100) == Interval(-math.inf, math.inf)


def test_more_looks_want_more_certainty() -> None:
    def some(places: Sequence[int]) -> float:
        return 100 * sum(place < 9 for place in places) / len(places)

    one, many = (estimate_interval(some, 300, step=100, many_looks=many) for many in (False, True))
    assert many.low < one.low < 3 < one.high < many.high


@pytest.mark.parametrize(
    ("changed", "bound", "decided"),
    [(0, 0.5, False), (0, 1.8, True), (40, 2.0, True), (12, 2.0, False)],
)
def test_losses_are_decided_when_they_are_far_from_their_bounds(changed: int, bound: float, decided: bool) -> None:
    values = np.zeros(200)
    values[:changed] = 1
    loss = Loss(average(np.random.default_rng(0).permutation(values)), 200, bound)
    assert is_decided([loss]) is decided
    far = Loss(lambda places: 50.0, 200, 1.0)
    assert is_decided([loss, far]), "one that is too much is enough"
    near = Loss(lambda places: 0.0, 200, 50.0)
    assert is_decided([loss, near]) is decided, "all must be small enough"


def test_each_look_takes_twice_the_inputs() -> None:
    later = time.monotonic() + 60
    assert list(plan_looks(872, deadline=later)) == [100, 200, 400, 800, 872]
    assert list(plan_looks(100, deadline=later)) == [100]
    assert list(plan_looks(7, deadline=later)) == [7]
    assert list(plan_looks(60, 25, deadline=later)) == [25, 50, 60]
    assert list(plan_looks(872)) == [872], "all at once, where nothing ends it"


def test_no_look_is_begun_that_would_end_too_late() -> None:
    assert list(plan_looks(872, deadline=time.monotonic())) == [100]
    looks = []
    for look in plan_looks(10_000, deadline=time.monotonic() + 0.5):
        looks.append(look)
        time.sleep(0.1 if len(looks) == 1 else 0.0)  # the next two looks would take 0.1 s and 0.2 s as well
        if len(looks) == 2:
            time.sleep(0.2)
    assert looks == [100, 200], "another 200 would take as long as these did"
