"""How long variants take, with a clock that is told what to say."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from edgepipe_export.selection.latency import Latency, is_noisy, measure


def test_rounds_go_in_turn_and_noise_is_noticed() -> None:
    order: list[str] = []
    now = 0.0

    def run(name: str, took: Callable[[], float]) -> Callable[[], int]:
        def once() -> int:
            nonlocal now
            order.append(name)
            now += took()
            return 2

        return once

    steady = measure({"a": run("a", lambda: 0.004), "b": run("b", lambda: 0.002)}, rounds=5, clock=lambda: now)
    assert order == ["a", "b"] * 6
    assert steady["a"].median_ms == pytest.approx(2)
    assert steady["b"].median_ms == pytest.approx(1)
    assert not is_noisy(steady)
    order.clear()
    times = itertools.cycle([0.001, 0.009])
    told: list[tuple[int, int]] = []
    noisy = {"a": run("a", lambda: next(times))}
    assert is_noisy(
        measure(noisy, rounds=5, clock=lambda: now, progress=lambda done, total: told.append((done, total)))
    )
    assert len(order) == 21
    assert told == [(done, -(-done // 5) * 5) for done in range(1, 21)]
    order.clear()
    times = itertools.chain([0.001, 0.009, 0.001, 0.009, 0.001, 0.009], itertools.repeat(0.001))
    assert not is_noisy(measure(noisy, rounds=5, clock=lambda: now))
    assert len(order) == 16, "as many as it takes"


def test_one_noisy_variant_makes_all_noisy() -> None:
    assert not is_noisy({"a": Latency(1.0, 0.15)})
    assert is_noisy({"a": Latency(1.0, 0.0), "b": Latency(1.0, 0.1501)})


def test_what_takes_no_time_has_no_spread() -> None:
    assert measure({"a": lambda: 1}, rounds=2, clock=lambda: 0.0) == {"a": Latency(0.0, 0.0)}
