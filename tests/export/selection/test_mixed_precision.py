"""The search for the layers that must go up in precision, on benches whose answers are known.

On real graphs it is in test_evaluator.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from edgepipe.errors import InputError
from edgepipe_export.quantization.weights.layers import Layer
from edgepipe_export.selection.latency import Latency
from edgepipe_export.selection.mixed_precision import (
    DEFAULT_BUDGET,
    check_budget,
    extra_time,
    find_extra_times,
    find_growth,
    find_shares,
    repair,
)


class Made:
    """A bench whose layers cost what it is told: the gate holds up to a sum of costs. A second passes a measurement.

    All layers but the timeless ones take as long as each other, where time counts.
    """

    def __init__(
        self,
        costs: Mapping[str, float],
        bound: float,
        ladder: Mapping[str, float],
        weightless: Collection[str] = (),
        times: Mapping[str, float] | None = None,
        timeless: Collection[str] = (),
        growth: float = 0.0,
    ) -> None:
        self.layers = list(costs)
        self.ladder = list(ladder)
        self.weightless = frozenset(weightless)
        self._costs = costs
        self._bound = bound
        self._left = ladder
        self._times = times
        self.shares = {name: 1 / len(costs) for name in costs if name not in {*weightless, *timeless}}
        self.growth = dict.fromkeys(costs, growth)
        self.measure = None if times is None else self.time_ladder
        self.tried: list[Mapping[str, str]] = []
        self.now = 0.0

    def time_ladder(self) -> Mapping[str, float]:
        assert self._times is not None
        self.now += 1
        return self._times

    def cost(self, layer: str) -> float:
        self.now += 1
        return self._costs[layer]

    def passes(self, precisions: Mapping[str, str]) -> bool:
        self.now += 1
        self.tried.append(precisions)
        left = (cost * self._left.get(precisions.get(name, ""), 1.0) for name, cost in self._costs.items())
        return sum(left) <= self._bound

    def clock(self) -> float:
        return self.now


TEN = {f"layer {number}": float(number) for number in range(10)}  # together 45
LADDER = {"w8": 0.1, "fp32": 0.0}
LARGEST = ("layer 7", "layer 6", "layer 4")


@pytest.mark.parametrize(
    ("bound", "raised"),
    [
        (40, {"w8": 1}),  # 9 -> 0.9 leaves 36.9
        (25, {"w8": 3}),  # 9, 8 and 7 leave 23.4
        (4.6, {"w8": 9}),  # all but the one that costs nothing
        (3.7, {"fp32": 1, "w8": 9}),
        (2.2, {"fp32": 3, "w8": 7}),
    ],
)
def test_the_fewest_layers_go_up(bound: float, raised: dict[str, int]) -> None:
    bench = Made(TEN, bound, LADDER)
    found = repair(bench, 1000, clock=bench.clock)
    assert found.precisions is not None
    assert found.complete
    counted = {name: list(found.precisions.values()).count(name) for name in set(found.precisions.values())}
    assert counted == raised
    highest = "fp32" if "fp32" in raised else "w8"
    best = sorted(TEN, key=lambda name: -TEN[name])[: raised[highest]]
    assert {name for name, precision in found.precisions.items() if precision == highest} == set(best)
    assert bench.passes(found.precisions)
    assert list(found.costs.values()) == sorted(TEN.values(), reverse=True)


def test_not_more_than_half_of_the_layers_are_left_in_fp32() -> None:
    bench = Made(TEN, 0.2, LADDER)
    found = repair(bench, 1000, clock=bench.clock)
    assert found.precisions is None
    assert found.complete


def test_a_recipe_that_mixes_with_fp32_alone() -> None:
    bench = Made(TEN, 30, {"fp32": 0.0})
    found = repair(bench, 1000, clock=bench.clock)
    assert found.precisions == {"layer 9": "fp32", "layer 8": "fp32"}


def test_what_has_no_weight_goes_up_at_once_and_is_not_among_the_half() -> None:
    costly = ("layer 9", "layer 8", "layer 5")
    once = Made(TEN, 28.5, LADDER, costly)  # 9 and 8 leave 28, where w8 would leave 29.7
    found = repair(once, 1000, clock=once.clock)
    assert found.precisions == {"layer 9": "fp32", "layer 8": "fp32"}
    # 7, 6 and 4 of the seven weights may be fp32, beside the three without; 0.1 of 3, 2, 1 and 0 is left.
    last = Made(TEN, 0.61, LADDER, costly)
    found = repair(last, 1000, clock=last.clock)
    assert found.precisions is not None
    assert {name for name, wanted in found.precisions.items() if wanted == "fp32"} == {*costly, *LARGEST}
    assert repair(Made(TEN, 0.5, LADDER, costly), 1000).precisions is None


@pytest.mark.parametrize(
    ("times", "raised"),
    [
        ({"w8": 3.0, "fp32": 2.0}, {"fp32": 4}),  # nothing speaks for w8
        ({"w8": 2.0, "fp32": 2.0}, {"fp32": 4}),  # 5 in w8, where 4 in fp32 take less
        ({"w8": 2.0, "fp32": 2.4}, {"fp32": 4}),  # 9.6 instead of 10
        ({"w8": 2.0, "fp32": 2.5}, {"w8": 5}),  # as long: the smaller
        ({"w8": 2.0, "fp32": 4.0}, {"w8": 5}),
        ({"w8": 0.0, "fp32": 0.0}, {"w8": 5}),  # no time to win
        (None, {"w8": 5}),
    ],
    ids=["w8 slower", "alike", "fewer in fp32", "tie", "fp32 slower", "nothing takes time", "time does not count"],
)
def test_the_repair_weighs_time(times: Mapping[str, float] | None, raised: dict[str, int]) -> None:
    bench = Made(TEN, 15.1, {"w8": 0.14, "fp32": 0.0}, times=times)  # 9, 8, 7 and 6 of 45 leave 15, and 19.2 in w8
    found = repair(bench, 1000, clock=bench.clock)
    assert found.precisions is not None
    assert {name: list(found.precisions.values()).count(name) for name in set(found.precisions.values())} == raised
    assert bench.passes(found.precisions)
    assert found.weighs_time == (times is not None)
    assert found.complete


def test_a_faster_way_that_is_too_narrow_is_left_for_a_slower_one() -> None:
    """At most half of the layers may be fp32: nine in w8 are needed, however slow."""
    bench = Made(TEN, 4.6, LADDER, times={"w8": 3.0, "fp32": 2.0})
    found = repair(bench, 1000, clock=bench.clock)
    assert found.precisions is not None
    assert set(found.precisions.values()) == {"w8"}
    assert len(found.precisions) == 9
    both = Made(TEN, 2.2, LADDER, times={"w8": 3.0, "fp32": 2.0})
    found = repair(both, 1000, clock=both.clock)
    assert found.precisions is not None
    assert sorted(found.precisions.values()) == ["fp32"] * 3 + ["w8"] * 7


def test_a_slower_way_is_asked_once_whether_it_can_be_faster() -> None:
    bench = Made(TEN, 15.1, {"w8": 0.14, "fp32": 0.0}, times={"w8": 2.0, "fp32": 2.6})
    found = repair(bench, 1000, clock=bench.clock)
    in_fp32 = [precisions for precisions in bench.tried if "fp32" in precisions.values()]
    assert [len(precisions) for precisions in in_fp32] == [3]  # 7.8 instead of 10; four would take 10.4
    assert found.precisions is not None
    assert set(found.precisions.values()) == {"w8"}


def test_what_takes_no_time_stays_small() -> None:
    """A table of embeddings in fp32 wins no time over one in blocks."""
    bench = Made(TEN, 21.9, LADDER, times={"w8": 3.0, "fp32": 2.0}, timeless=("layer 9",))
    found = repair(bench, 1000, clock=bench.clock)
    assert found.precisions == {"layer 9": "w8", "layer 8": "fp32", "layer 7": "fp32"}  # 21 and 0.9 are left


@pytest.mark.parametrize(
    ("growth", "times", "raised"),
    [
        (0.0625, {"w8": 3.0, "fp32": 2.0}, ("fp32", 4)),  # a quarter larger
        (0.07, {"w8": 3.0, "fp32": 2.0}, ("w8", 5)),
        (0.07, {"w8": 2.0, "fp32": 2.1}, ("w8", 5)),  # four in fp32 are faster, and too large
    ],
    ids=["not large", "fp32 first", "w8 first"],
)
def test_time_does_not_make_a_variant_much_larger(
    growth: float, times: Mapping[str, float], raised: tuple[str, int]
) -> None:
    bench = Made(TEN, 15.1, {"w8": 0.14, "fp32": 0.0}, times=times, growth=growth)
    found = repair(bench, 1000, clock=bench.clock)
    assert found.precisions is not None
    assert (*set(found.precisions.values()), len(found.precisions)) == raised


def test_what_is_large_is_taken_where_nothing_else_is_enough() -> None:
    bench = Made(TEN, 15.1, {"w8": 0.9, "fp32": 0.0}, times={"w8": 3.0, "fp32": 2.0}, growth=0.2)
    found = repair(bench, 1000, clock=bench.clock)
    assert found.precisions is not None
    assert list(found.precisions.values()) == ["fp32"] * 4


def test_one_precision_alone_is_not_timed() -> None:
    bench = Made(TEN, 30, {"fp32": 0.0}, times={})
    found = repair(bench, 1000, clock=bench.clock)
    assert found.precisions == {"layer 9": "fp32", "layer 8": "fp32"}
    assert not found.weighs_time


@pytest.mark.parametrize(
    ("w8", "fp32", "extra"),
    [
        (Latency(8.0, 0.0), Latency(6.0, 0.0), {"w8": 4.0, "fp32": 2.0}),
        (Latency(6.1, 0.0), Latency(6.0, 0.0), {"w8": 2.0, "fp32": 2.0}),
        (Latency(7.0, 0.2), Latency(6.0, 0.2), {"w8": 2.0, "fp32": 2.0}),
        (Latency(3.0, 0.0), Latency(6.0, 0.0), {"w8": 0.0, "fp32": 2.0}),
        (Latency(4.1, 0.0), Latency(6.0, 0.0), {"w8": 0.0, "fp32": 2.0}),
    ],
    ids=["told apart", "alike", "noisy", "faster than the recipe", "as the recipe"],
)
def test_extra_times_are_what_the_rounds_tell(w8: Latency, fp32: Latency, extra: Mapping[str, float]) -> None:
    assert find_extra_times(Latency(4.0, 0.0), {"w8": w8, "fp32": fp32}) == extra


def test_a_product_does_as_much_work_as_it_has_weights() -> None:
    layers = {
        "table": Layer("table", "table", (), ("gather",), 100),
        "up": Layer("up", "up", ("MatMul",), (), 30),
        "head": Layer("head", "head", ("logits",), ("gather",), 10),
        "Softmax": Layer("Softmax", "Softmax", (), (), 0, ("softmax",)),
    }
    shares = find_shares(layers)
    assert shares == {"up": 0.75, "head": 0.25}
    times = {"w8": 4.0, "fp32": 2.0}
    assert extra_time({"table": "w8", "up": "w8", "head": "fp32", "Softmax": "fp32"}, shares, times) == 3.5
    assert find_shares({"table": layers["table"]}) == {}
    assert find_growth(layers, 140) == pytest.approx({"up": 90 / 140, "head": 30 / 140})  # a byte a number before


@pytest.mark.parametrize("budget", [0, 5, 14, 17, 30])
def test_a_budget_ends_it_with_what_passes_or_nothing(budget: float) -> None:
    bench = Made(TEN, 18, LADDER)
    found = repair(bench, budget, clock=bench.clock)
    assert bench.now <= budget + 1
    assert found.complete == (budget == 30)
    assert found.precisions is None or bench.passes(found.precisions)
    timed = Made(TEN, 18, LADDER, times={"w8": 2.0, "fp32": 2.2})
    with_time = repair(timed, budget, clock=timed.clock)
    assert timed.now <= budget + 1
    assert with_time.precisions is None or timed.passes(with_time.precisions)
    if budget == 0:
        assert (found.precisions, found.costs, found.attempts) == (None, {}, 0)
    if budget >= 14:
        assert found.precisions is not None


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    bench = Made(TEN, 40, LADDER)
    found = repair(bench, 1000, clock=bench.clock, progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == list(range(1, 10 + found.attempts + 1))
    assert {total for _, total in told} == {10 + 5 + 4 + 3}  # layers; counts of w8, counts of fp32, halvings
    timed = Made(TEN, 40, LADDER, times={"w8": 2.0, "fp32": 2.0})
    repair(timed, 1000, clock=timed.clock, progress=lambda done, total: told.append((done, total)))
    assert told[-1][1] == 10 + 5 + 4 + 4 + 2 * 3  # each way from the recipe's own, and the one of all layers
    assert all(done <= total for done, total in told)


def test_a_budget_is_a_number_of_seconds() -> None:
    assert [check_budget(seconds) for seconds in (None, 0, 2.5)] == [DEFAULT_BUDGET, 0.0, 2.5]
    for wrong in (-1, "300", True, float("nan")):
        with pytest.raises(InputError, match="budget must be a number of seconds, 0 or more"):
            check_budget(wrong)  # type: ignore[arg-type]
