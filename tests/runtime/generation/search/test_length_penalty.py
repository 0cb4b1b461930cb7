"""The length penalty of beams, and penalties that no number can hold."""

from __future__ import annotations

import pytest

from edgepipe.errors import InputError
from edgepipe.generation.search.length_penalty import penalize_length


@pytest.mark.parametrize(
    ("length", "penalty", "expected"), [(4, 0.5, 2.0), (4, -1.0, 0.25), (7, 0.0, 1.0), (1, 1e6, 1.0)]
)
def test_a_score_is_divided_by_a_power_of_the_length(length: int, penalty: float, expected: float) -> None:
    assert penalize_length(length, penalty) == expected


@pytest.mark.parametrize("penalty", [1000.0, -1000.0])
def test_a_power_that_no_number_can_be_is_refused(penalty: float) -> None:
    with pytest.raises(InputError, match=f"length_penalty={penalty:g} cannot be applied to 5 tokens"):
        penalize_length(5, penalty)
