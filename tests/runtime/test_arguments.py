from __future__ import annotations

import numpy as np
import pytest

from edgepipe.arguments import check_flag, check_whole, did_you_mean, is_number, is_one_of, is_whole
from edgepipe.errors import InputError


@pytest.mark.parametrize("value", [True, False, 1.0, "1", None, -1, np.float32(1)])
def test_what_is_no_whole_number(value: object) -> None:
    assert not is_whole(value)
    with pytest.raises(InputError, match="top_k must be a whole number of at least 0, got"):
        check_whole("top_k", value, 0)


@pytest.mark.parametrize("value", [0, 7, np.int64(7), np.uint8(0)])
def test_what_is_a_whole_number(value: object) -> None:
    found = check_whole("top_k", value, 0)
    assert found == value
    assert type(found) is int


def test_a_whole_number_has_a_bound() -> None:
    assert is_whole(3, 3)
    assert not is_whole(2, 3)


def test_numbers_are_finite_and_no_truth_values() -> None:
    assert is_number(0.5)
    assert is_number(np.float32(0.5))
    assert not any(map(is_number, (float("nan"), float("inf"), True, "0.5", None, 10**400)))


def test_an_array_is_none_of_some_names() -> None:
    choices = (None, False, "np")
    assert all(is_one_of(value, choices) for value in (None, False, "np", np.str_("np")))
    assert not any(is_one_of(value, choices) for value in (np.array(["np", "np"]), 0, True, np.bool_(False), [], "pt"))


@pytest.mark.parametrize("value", [0, 1, "True", None, np.bool_(True)])
def test_nothing_stands_in_for_a_truth_value(value: object) -> None:
    with pytest.raises(InputError, match="multi_label must be True or False, got"):
        check_flag("multi_label", value)


def test_the_nearest_name_is_suggested() -> None:
    assert did_you_mean("top_kk", ["top_p", "top_k"]) == "; did you mean 'top_k'?"
    assert did_you_mean("zzz", ["top_p", "top_k"]) == ""
