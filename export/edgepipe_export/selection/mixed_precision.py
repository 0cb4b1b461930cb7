"""Repair: which layers of a quantized graph cost most, and the fewest of them that must go up in precision.

1. Each layer is quantized alone, all others in fp32, and the graph's outputs are compared with fp32's: what it costs.
   (Quantizing all but one would show little where several layers are ruined.)
2. The most costly layers go up one rung (a blockwise precision, then fp32), 1, 2, 4 and more of them until the gate
   holds; then the fewest between the last that failed and the first that held are found by halving.
3. Where time counts, each rung is measured: how much longer a run takes with all layers on it. The search begins with
   the fastest rung, and tries another one as long as fewer layers on that would take less time. What makes the variant
   more than a quarter larger is taken only where nothing else is enough.

The search knows nothing of graphs: the functions of :class:`Trials` make and measure them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Real
from typing import TYPE_CHECKING

from edgepipe.errors import InputError
from edgepipe_export.quantization.recipe import FP32
from edgepipe_export.selection.latency import Latency, are_alike

if TYPE_CHECKING:
    from edgepipe_export.quantization.weights.layers import Layer

# Seconds that a repair may take.
DEFAULT_BUDGET = 300.0

# How much larger fp32 may make a variant for the sake of time.
_MOST_GROWTH = 0.25

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
        shares: What part of the work of all products each layer does; layers that are not there take no time.
        growth: By what part of its size each layer in fp32 makes the variant larger; 0 for layers that are not there.
        measure: How much longer an input takes with all products in each precision of the ladder than in the recipe's
            own, in milliseconds; None where time does not count.
    """

    layers: Sequence[str]
    ladder: Sequence[str]
    weightless: Collection[str]
    cost: Callable[[str], float]
    passes: Callable[[Mapping[str, str]], bool]
    shares: Mapping[str, float] = field(default_factory=dict)
    growth: Mapping[str, float] = field(default_factory=dict)
    measure: Callable[[], Mapping[str, float]] | None = None


@dataclass(frozen=True, slots=True)
class Repair:
    """What a search came to.

    Attributes:
        precisions: The layers that go up, with their precision; None where nothing that was tried passed.
        costs: What each layer that was measured costs, the most costly first.
        attempts: How many mixed graphs were tried.
        complete: Whether the search came to its end within the budget.
        weighs_time: Whether the time of the precisions decided between them.
    """

    precisions: Mapping[str, str] | None
    costs: Mapping[str, float]
    attempts: int
    complete: bool
    weighs_time: bool = False


@dataclass(frozen=True, slots=True)
class _Way:
    """Where layers go: the most costly to `upper`, all others to `lower`, or not at all where that is None."""

    upper: str
    lower: str | None = None


def repair(
    trials: Trials,
    budget: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Repair:
    """Find the fewest layers that must go up in precision for the gate to hold, or those that take the least time.

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
    times = None
    if trials.measure is not None and len(trials.ladder) > 1 and clock() < start + budget:
        times = trials.measure()
    search = _Search(trials, ranked, times, start + budget, clock, lambda done: progress(len(costs) + done, total))
    found = search.run()
    complete = not search.stopped and len(costs) == len(ranked)
    return Repair(found, costs, search.attempts, complete, times is not None)


def find_shares(layers: Mapping[str, Layer]) -> dict[str, float]:
    """What part of the work of all products each layer does: that of its weights among theirs.

    Tables of embeddings, of which rows are looked up, and operators without weights do no part of it.
    """
    sizes = {name: layer.size for name, layer in layers.items() if layer.products}
    return {name: size / sum(sizes.values()) for name, size in sizes.items()}


def find_growth(layers: Mapping[str, Layer], size: int) -> dict[str, float]:
    """By what part each product in fp32 makes a variant larger.

    Args:
        layers: All layers of its graphs.
        size: Its bytes; each layer has its share of them.
    """
    numbers = sum(layer.size for layer in layers.values())
    return {
        name: max(0.0, 4 * layer.size / size - layer.size / numbers) for name, layer in layers.items() if layer.products
    }


def find_extra_times(own: Latency, ladder: Mapping[str, Latency]) -> dict[str, float]:
    """How much longer an input takes in each precision of a ladder, in milliseconds, as far as the rounds tell it.

    Those that they do not tell from the fastest take as long as that, and those that they do not tell from the
    recipe's own take no longer.

    Args:
        own: The latency with all products in the recipe's own precision.
        ladder: Those with all products in each of the others, by precision.
    """
    fastest = min(ladder.values(), key=lambda latency: latency.median_ms)

    def extra(latency: Latency) -> float:
        shown = fastest if are_alike(fastest, latency) else latency
        return 0.0 if are_alike(own, shown) else shown.median_ms - own.median_ms

    return {precision: extra(latency) for precision, latency in ladder.items()}


def extra_time(precisions: Mapping[str, str], shares: Mapping[str, float], times: Mapping[str, float]) -> float:
    """How much longer an input takes with some layers in other precisions, in milliseconds.

    A product takes as long as it has weights: its share of what all products take.

    Args:
        precisions: The layers that go up.
        shares: See :attr:`Trials.shares`.
        times: What :attr:`Trials.measure` gave.
    """
    return sum(shares.get(layer, 0.0) * times[precision] for layer, precision in precisions.items())


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


def _first_ways(trials: Trials, times: Mapping[str, float] | None) -> list[_Way]:
    """The ways that leave all but the most costly layers as they are: the fastest first, of equals the least exact."""
    if times is None:
        return [_Way(trials.ladder[0])]
    return [_Way(rung) for rung in sorted(trials.ladder, key=lambda rung: times[rung])]  # a stable order


def _last_ways(trials: Trials) -> list[_Way]:
    """The ways that raise all layers, for graphs of which no few are enough."""
    return [_Way(upper, lower) for lower, upper in pairwise(trials.ladder)]


def _most(trials: Trials, ranked: Sequence[str], way: _Way) -> int:
    """How many layers can go up; to fp32 at most half of the weights, as more would not be a quantized graph."""
    if way.upper != FP32:
        return len(ranked)
    weights = [place for place, name in enumerate(ranked) if name not in trials.weightless]
    return weights[len(weights) // 2] if weights else 0


def _counts(most: int) -> Iterator[int]:
    """1, 2, 4 and so on, and the most."""
    count = 1
    while count < most:
        yield count
        count *= 2
    if most:
        yield most


def _most_attempts(trials: Trials) -> int:
    """How many mixed graphs a search tries at most: every count of every way, and a gap halved."""
    worst = sorted(trials.layers, key=lambda name: name not in trials.weightless)
    halvings = max(0, len(worst).bit_length() - 1)
    first = [_Way(trials.ladder[0])] if trials.measure is None else [_Way(rung) for rung in trials.ladder]
    ways = [*first, *_last_ways(trials)]
    counts = sum(len(list(_counts(_most(trials, worst, way)))) for way in ways)
    return counts + halvings * len(first)


class _Search:
    """Tries mixed graphs until one passes, and then smaller changes."""

    def __init__(
        self,
        trials: Trials,
        ranked: Sequence[str],
        times: Mapping[str, float] | None,
        deadline: float,
        clock: Callable[[], float],
        progress: Callable[[int], None],
    ) -> None:
        self._progress = progress
        self._trials = trials
        self._ranked = ranked
        self._times = times
        self._deadline = deadline
        self._clock = clock
        self.attempts = 0
        self.stopped = False

    def run(self) -> dict[str, str] | None:
        """The precisions of the fewest or the fastest layers; None where nothing passed in time."""
        best: tuple[_Way, int] | None = None
        large: tuple[_Way, int] | None = None
        for way in _first_ways(self._trials, self._times):
            count = self._try(way) if best is None else self._try_faster(way, *best)
            if count is None:
                continue
            if self._is_large(way, count):
                large = (way, count)
            else:
                best = (way, count)
        best = best or large
        for way in () if best is not None else _last_ways(self._trials):
            if (count := self._try(way)) is not None:
                best = (way, count)
                break
        return None if best is None else self._precisions(*best)

    def _try(self, way: _Way) -> int | None:
        """How many layers must go up; None where no number of them is enough, or the time is over."""
        below = 0
        for count in _counts(_most(self._trials, self._ranked, way)):
            if self._passes(way, count):
                return self._fewest(way, below, count)
            if self.stopped:
                return None
            below = count
        return None

    def _try_faster(self, way: _Way, best: _Way, best_count: int) -> int | None:
        """How many layers must go up where that takes less time than the best so far; None where it does not."""
        assert self._times is not None
        ladder = self._trials.ladder
        if ladder.index(way.upper) < ladder.index(best.upper):
            return None  # neither faster nor more exact: as many layers, or more, that each take as long, or longer
        limit = self._extra_time(best, best_count)
        counts = range(1, _most(self._trials, self._ranked, way) + 1)
        most = sum(  # the more, the longer and the larger
            self._extra_time(way, count) < limit and not self._is_large(way, count) for count in counts
        )
        return self._fewest(way, 0, most) if most and self._passes(way, most) else None

    def _extra_time(self, way: _Way, count: int) -> float:
        assert self._times is not None
        return extra_time(self._precisions(way, count), self._trials.shares, self._times)

    def _is_large(self, way: _Way, count: int) -> bool:
        """Whether fp32 makes too large a variant; only where time counts it is taken for anything but need."""
        in_fp32 = (name for name, precision in self._precisions(way, count).items() if precision == FP32)
        growth = sum(self._trials.growth.get(name, 0.0) for name in in_fp32)
        return self._times is not None and growth > _MOST_GROWTH

    def _fewest(self, way: _Way, below: int, count: int) -> int:
        while count - below > 1 and not self.stopped:
            middle = (below + count) // 2
            if self._passes(way, middle):
                count = middle
            elif not self.stopped:
                below = middle
        return count

    def _passes(self, way: _Way, count: int) -> bool:
        if self._clock() >= self._deadline:
            self.stopped = True
            return False
        self.attempts += 1
        passes = self._trials.passes(self._precisions(way, count))
        self._progress(self.attempts)
        return passes

    def _precisions(self, way: _Way, count: int) -> dict[str, str]:
        """The precisions that layers get on a way."""
        precisions = dict.fromkeys(self._ranked[:count], way.upper)
        if way.lower is not None:
            precisions |= dict.fromkeys(self._ranked[count:], way.lower)
        return {name: self._allow(name, way, wanted) for name, wanted in precisions.items()}

    def _allow(self, name: str, way: _Way, wanted: str) -> str:
        """The precision that a layer gets; where time counts, what takes none goes up no more than need be."""
        if name in self._trials.weightless:
            return FP32
        timeless = self._times is not None and way.lower is None and name not in self._trials.shares
        return self._trials.ladder[0] if timeless else wanted


def check_budget(budget: float | None) -> float:
    """The seconds that a repair may take: those that the user gives, or the default.

    Raises:
        InputError: it is no number of at least 0.
    """
    if budget is None:
        return DEFAULT_BUDGET
    if not isinstance(budget, Real) or isinstance(budget, bool) or not budget >= 0:
        raise InputError(f"budget must be a number of seconds, 0 or more, got {budget!r}")
    return float(budget)
