"""Repair: which layers of a quantized graph cost most, and the fewest of them that must go up in precision.

1. Each layer is quantized alone, all others in fp32, and the graph's outputs are compared with fp32's: what it costs.
   (Quantizing all but one would show little where several layers are ruined.)
2. The most costly layers go up one rung (a blockwise precision, then fp32), 1, 2, 4 and more of them until the gate
   holds; then the fewest between the last that failed and the first that held are found by halving.

The search knows nothing of graphs: the functions of :class:`Trials` make and measure them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgepipe_export.quantization.recipe import FP32

# Seconds that a repair may take.
DEFAULT_BUDGET = 300.0

# How much of the budget goes into finding what each layer costs.
_MEASURING = 0.5


@dataclass(frozen=True, slots=True)
class Trials:
    """A variant, tried with single layers in other precisions.

    Attributes:
        layers: The layers that can have another precision.
        ladder: The precisions above the recipe's own, the least exact first.
        weightless: The layers without weights, which have no precision between the recipe's own and fp32.
        cost: How far the outputs are from fp32's when this layer alone is quantized.
        passes: Whether the gate holds with these layers in other precisions.
    """

    layers: Sequence[str]
    ladder: Sequence[str]
    weightless: Collection[str]
    cost: Callable[[str], float]
    passes: Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True)
class Repair:
    """What a search came to.

    Attributes:
        precisions: The layers that go up, with their precision; None where nothing that was tried passed.
        costs: What each layer that was measured costs, the most costly first.
        attempts: How many mixed graphs were tried.
        complete: Whether the search came to its end within the budget.
    """

    precisions: Mapping[str, str] | None
    costs: Mapping[str, float]
    attempts: int
    complete: bool


def repair(
    trials: Trials,
    budget: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Repair:
    """Find the fewest layers that must go up in precision for the gate to hold.

    Args:
        trials: Makes and measures.
        budget: Seconds it may take; what has begun is finished.
        clock: Seconds that go on.
        progress: Called with how many steps of how many are done: layers measured, then mixed graphs tried. How many
            of those it takes is not known before, so it may end early.
    """
    start = clock()
    total = len(trials.layers) + _most_attempts(trials)
    costs = _costs(trials, start + _MEASURING * budget, clock, lambda done: progress(done, total))
    ranked = [*costs, *(layer for layer in trials.layers if layer not in costs)]
    search = _Search(trials, ranked, start + budget, clock, lambda done: progress(len(costs) + done, total))
    found = search.run()
    return Repair(found, costs, search.attempts, not search.stopped and len(costs) == len(ranked))


def _costs(
    trials: Trials, deadline: float, clock: Callable[[], float], progress: Callable[[int], None]
) -> dict[str, float]:
    costs: dict[str, float] = {}
    for number, layer in enumerate(trials.layers, 1):
        if clock() >= deadline:
            break
        costs[layer] = trials.cost(layer)
        progress(number)
    return dict(sorted(costs.items(), key=lambda item: -item[1]))


def _counts(trials: Trials, ranked: Sequence[str], rung: int) -> Iterator[int]:
    """1, 2, 4 and so on; of fp32 at most half of the weights, as more would not be a quantized graph."""
    most = len(ranked)
    if trials.ladder[rung] == FP32:
        weights = [place for place, name in enumerate(ranked) if name not in trials.weightless]
        most = weights[len(weights) // 2] if weights else 0
    count = 1
    while count < most:
        yield count
        count *= 2
    if most:
        yield most


def _most_attempts(trials: Trials) -> int:
    """How many mixed graphs a search tries at most: every count of every rung, and a gap halved."""
    worst = sorted(trials.layers, key=lambda name: name not in trials.weightless)
    counts = sum(len(list(_counts(trials, worst, rung))) for rung in range(len(trials.ladder)))
    return counts + max(0, len(worst).bit_length() - 1)


class _Search:
    """Tries mixed graphs until one passes, and then smaller changes."""

    def __init__(
        self,
        trials: Trials,
        ranked: Sequence[str],
        deadline: float,
        clock: Callable[[], float],
        progress: Callable[[int], None],
    ) -> None:
        self._progress = progress
        self._trials = trials
        self._ranked = ranked
        self._deadline = deadline
        self._clock = clock
        self.attempts = 0
        self.stopped = False

    def run(self) -> dict[str, str] | None:
        """The precisions of the fewest layers; None where nothing passed in time."""
        for rung in range(len(self._trials.ladder)):
            below = 0
            for count in _counts(self._trials, self._ranked, rung):
                if self._passes(rung, count):
                    return self._fewest(rung, below, count)
                if self.stopped:
                    return None
                below = count
        return None

    def _fewest(self, rung: int, below: int, count: int) -> dict[str, str]:
        while count - below > 1 and not self.stopped:
            middle = (below + count) // 2
            if self._passes(rung, middle):
                count = middle
            elif not self.stopped:
                below = middle
        return self._precisions(rung, count)

    def _passes(self, rung: int, count: int) -> bool:
        if self._clock() >= self._deadline:
            self.stopped = True
            return False
        self.attempts += 1
        passes = self._trials.passes(self._precisions(rung, count))
        self._progress(self.attempts)
        return passes

    def _precisions(self, rung: int, count: int) -> dict[str, str]:
        """The most costly layers on a rung, and all others on the one below it."""
        own, lower = self._trials.ladder[rung], self._trials.ladder[rung - 1] if rung else None
        precisions = dict.fromkeys(self._ranked[:count], own)
        if lower is not None:
            precisions |= dict.fromkeys(self._ranked[count:], lower)
        return {name: FP32 if name in self._trials.weightless else wanted for name, wanted in precisions.items()}
