"""What a variant may lose."""

from __future__ import annotations

import pytest

from edgepipe.errors import InputError
from edgepipe_export.evaluation.tolerances import Tolerance, fewest_to_measure


def test_one_number_sets_all_bounds() -> None:
    assert Tolerance.from_max_drop(None) == Tolerance(metric=0.5, agreement=1, perplexity=1)
    assert Tolerance.from_max_drop(2) == Tolerance(2, 2, 2)


@pytest.mark.parametrize("given", [-1, 101, "5", True, float("nan")])
def test_a_bound_that_is_no_share(given: float) -> None:
    with pytest.raises(InputError, match="max_drop"):
        Tolerance.from_max_drop(given)


@pytest.mark.parametrize("given", [0, 100])
def test_both_ends_are_bounds(given: int) -> None:
    assert Tolerance.from_max_drop(given) == Tolerance(given, given, given)


def test_one_decision_of_the_fewest_is_within_the_bound() -> None:
    assert fewest_to_measure(gold=True) == 200
    assert fewest_to_measure(gold=False) == 100
