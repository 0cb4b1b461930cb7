"""The search for the layers that must go up in precision, on benches whose answers are known.

On real graphs it is in test_evaluator.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from edgepipe_export.selection.mixed_precision import repair


class Made:
    """A bench whose layers cost what it is told: the gate holds up to a sum of costs. A second passes a measurement."""

    def __init__(
        self,
        costs: Mapping[str, float],
        bound: float,
        ladder: Mapping[str, float],
        weightless: Collection[str] = (),
    ) -> None:
        self.layers = list(costs)
        self.ladder = list(ladder)
        self.weightless = frozenset(weightless)
        self._costs = costs
        self._bound = bound
        self._left = ladder
        self.now = 0.0

    def cost(self, layer: str) -> float:
        self.now += 1
        return self._costs[layer]

    def passes(self, precisions: Mapping[str, str]) -> bool:
        self.now += 1
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


@pytest.mark.parametrize("budget", [0, 5, 14, 17, 30])
def test_a_budget_ends_it_with_what_passes_or_nothing(budget: float) -> None:
    bench = Made(TEN, 18, LADDER)
    found = repair(bench, budget, clock=bench.clock)
    assert bench.now <= budget + 1
    assert found.complete == (budget == 30)
    assert found.precisions is None or bench.passes(found.precisions)
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
