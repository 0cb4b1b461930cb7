"""Runs in turn, by a clock that the runs themselves move on."""

from __future__ import annotations

from edgepipe.benchmarking.timing import take_turns, time_runs


def test_every_round_has_every_function_in_turn() -> None:
    order: list[str] = []
    rounds: list[int] = []

    def run(name: str) -> int:
        order.append(name)
        return len(order)

    assert take_turns([lambda: run("a"), lambda: run("b")], 3, rounds.append) == [[1, 3, 5], [2, 4, 6]]
    assert order == ["a", "b"] * 3
    assert rounds == [0, 1, 2]


def test_runs_are_timed_until_there_are_enough_for_long_enough() -> None:
    now = 0.0

    def run() -> None:
        nonlocal now
        now += 2.0

    assert time_runs(run, clock=lambda: now) == [2.0]
    assert time_runs(run, runs=3, clock=lambda: now) == [2.0] * 3
    assert time_runs(run, seconds=7.0, clock=lambda: now) == [2.0] * 4
    now = 0.0
    assert time_runs(run, wake=2, clock=lambda: now) == [2.0]
    assert now == 6.0
