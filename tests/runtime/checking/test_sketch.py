"""Sketches of outputs: small ones whole, large ones so that any change shows."""

from __future__ import annotations

import numpy as np
import pytest

from edgepipe.checking.sketch import LENGTH, Sketch, sketch


def test_a_small_output_is_kept_whole() -> None:
    made = sketch(np.array([1.5, -2.25, 0.125], np.float32), logits=True)
    assert made == Sketch((3,), (1.5, -2.25, 0.125), (0,), (1.375,))


def test_a_large_output_becomes_as_few_numbers_of_the_same_size() -> None:
    states = np.random.default_rng(0).standard_normal((200, 384))
    made = sketch(states, logits=False)
    assert (made.shape, len(made.values), made.best) == ((200, 384), LENGTH, ())
    assert 0.5 < np.std(made.values) < 2


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda states: states[::-1], id="rows_turned"),
        pytest.param(lambda states: np.roll(states, 1, axis=1), id="columns_shifted"),
        pytest.param(lambda states: states + (np.arange(384) == 77), id="one_column"),
        pytest.param(lambda states: states + 2 * (np.arange(200) == 5)[:, None], id="one_row"),
        pytest.param(lambda states: states * 1.01, id="a_percent_larger"),
    ],
)
def test_any_change_shows(change: object) -> None:
    states = np.random.default_rng(1).standard_normal((200, 384))
    assert callable(change)
    one, other = (np.array(sketch(each, logits=False).values) for each in (states, change(states)))
    noise = states + 1e-5 * np.random.default_rng(2).standard_normal(states.shape)
    beside = np.abs(np.array(sketch(noise, logits=False).values) - one).max()
    assert np.abs(other - one).max() > 20 * beside


def test_minus_infinity_is_counted_and_never_best() -> None:
    made = sketch(np.array([[-np.inf, 2.0, 1.0], [3.0, -np.inf, -np.inf]]), logits=True)
    assert (made.infinite, made.best, made.margins) == (3, (1, 0), (1.0, 3.0))
    assert made.values == (0.0, 2.0, 1.0, 3.0, 0.0, 0.0)


def test_decisions_are_of_rows_that_are_spread() -> None:
    rows = np.eye(100)
    assert sketch(rows, logits=True).best == (0, 14, 28, 42, 56, 70, 84, 99)


def test_it_comes_back_from_its_record() -> None:
    made = sketch(np.random.default_rng(3).standard_normal((4, 50)), logits=True)
    assert Sketch.from_record(made.to_record()) == made


@pytest.mark.parametrize(
    "record",
    [
        {"shape": [3], "values": ["1"]},
        {"shape": [-1], "values": [1.0]},
        {"shape": [3], "values": [float("inf")]},
        {"shape": [999], "values": [0.0] * 999},
        {"shape": [3], "values": [1.0], "best": [0], "margins": []},
        {"shape": [3], "values": [1.0], "infinite": -1},
    ],
    ids=["text", "negative", "infinite", "long", "margins", "count"],
)
def test_what_is_none(record: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="it has"):
        Sketch.from_record(record)
