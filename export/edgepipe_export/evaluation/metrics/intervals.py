"""How sure the inputs are of a figure: confidence intervals.

The figure is computed again without one group of the inputs after another, which serves every figure: the
delete-a-group jackknife (Kott, "The Delete-a-Group Jackknife", Journal of Official Statistics 17, 2001).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_GROUPS = 20

# Standard errors on either side: 95 % of Student's distribution with as many degrees of freedom as groups less one.
_WIDTH = 2.09
# The same for 99.7 %: whoever looks after every few inputs would often be right by chance otherwise.
_WIDTH_OF_MANY_LOOKS = 3.4

# How many inputs, or more, the first of several looks takes.
_FIRST_LOOK = 100


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a figure lies.

    Attributes:
        low: It is no less.
        high: It is no more.
    """

    low: float
    high: float


def estimate_interval(
    statistic: Callable[[Sequence[int]], float], count: int, *, step: float, many_looks: bool = False
) -> Interval:
    """Where a figure of inputs lies, of which some were measured.

    Args:
        statistic: Computes the figure of some of the inputs, which are given by their places.
        count: How many inputs were measured.
        step: What one input that is decided otherwise changes of the figure, were it the only one; 0 for figures
            without steps. One such input is reckoned with: inputs that all agree would have an interval without width.
            (Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", 2005.)
        many_looks: Whether this is one of several looks, after more and more inputs.

    Returns:
        An interval without bounds where there are fewer than two inputs.
    """
    groups = min(_GROUPS, count)
    if groups < 2:
        return Interval(-math.inf, math.inf)
    every = range(count)
    group_of = np.random.default_rng(0).permutation(count) % groups  # data may have a rhythm
    parts = [statistic(np.flatnonzero(group_of != group).tolist()) for group in range(groups)]
    mean = sum(parts) / groups
    variance = (groups - 1) / groups * sum((part - mean) ** 2 for part in parts) + (step / count) ** 2
    margin = (_WIDTH_OF_MANY_LOOKS if many_looks else _WIDTH) * math.sqrt(variance)
    figure = statistic(every)
    return Interval(figure - margin, figure + margin)


@dataclass(frozen=True, slots=True)
class Loss:
    """What a variant loses beside its reference, in the parts of a hundred that bounds are given in.

    Attributes:
        compute: Computes it on some of the inputs, given by their places (of pairs by the pairs' places).
        count: How many there are.
        bound: What it may be.
        step: What one input that is decided otherwise adds, were it the only one; 0 for what has no steps.
    """

    compute: Callable[[Sequence[int]], float]
    count: int
    bound: float
    step: float = 100.0

    def estimate(self, *, many_looks: bool = False) -> Interval:
        """Where it lies, by the inputs; see :func:`estimate_interval`."""
        return estimate_interval(self.compute, self.count, step=self.step, many_looks=many_looks)


def is_decided(losses: Sequence[Loss]) -> bool:
    """Whether more inputs of the same kind would hardly change whether the losses are within their bounds.

    It may be asked after more and more inputs.
    """
    found = [(loss.estimate(many_looks=True), loss.bound) for loss in losses]
    return any(interval.low > bound for interval, bound in found) or all(
        interval.high <= bound for interval, bound in found
    )


def plan_looks(count: int, first: int = _FIRST_LOOK, *, deadline: float | None = None) -> Iterator[int]:
    """After how many of the inputs to look: twice as many each time, and all at last.

    Args:
        count: How many there are.
        first: How many the first look takes.
        deadline: No look is begun that would end after it, by :func:`time.monotonic`, but for the first; None to look
            once, at all.
    """
    if deadline is None:
        yield count
        return
    begin, look = time.monotonic(), min(first, count)
    yield look
    while look < count:
        now = time.monotonic()
        following = min(2 * look, count)
        if now + (now - begin) * (following - look) / look > deadline:
            return
        yield following
        look = following
