"""How far what a variant gives is from what it gave where the bundle was made, and whether rounding explains it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepipe.checking.probes import Rows
from edgepipe.checking.sketch import Sketch

# On another processor or engine kernels add up in another order, so that rounding is so many times as large,
_ELSEWHERE = 10.0

# and quantized numbers may be rounded to their neighbours: so much farther from fp32 than at the export they may be.
# Few numbers tell little: the ratio of two means of n has a standard deviation of about 1 / sqrt(n), which is added.
_FARTHER = 1.5

# How much nearer to fp32: what is nearer still is another variant, unless its error is a part of the variant's own.
_NEARER = 0.5

# How much of such an error has to be found in the variant's own: all of it where an engine merely rounds less often, as
# OpenVINO rounds no activations of `w8`; nothing of it where other weights were rounded. So many standard deviations
# are left to chance, as few numbers tell little.
_PART, _CHANCE = 0.5, 2.0

# How far from its own outputs, as a share of how far these are from fp32: there it need not be compared with fp32.
_NEAR = 0.25

# How much farther one probe alone may be than all together.
_ONE = 4.0


@dataclass(frozen=True, slots=True)
class Deviation:
    """What a comparison found; distances are root mean squares, as shares of that of fp32's outputs.

    Attributes:
        from_export: From what the variant gave where the bundle was made.
        from_fp32: From what fp32 gave there.
        exported: How far the variant was from fp32 there.
        worst: The number of the probe that is farthest from what it was.
        output: The output that is.
        decisions: How many of `decided` are others than there, by more than rounding.
        decided: How many there were: the best label, the best token, the next token of a step.
        passed: Whether all of that is rounding.
    """

    from_export: float
    from_fp32: float
    exported: float
    worst: int
    output: str
    decisions: int
    decided: int
    passed: bool


def compare_rows(
    got: Sequence[Rows], own: Sequence[Rows], exact: Sequence[Rows], tolerance: float, *, elsewhere: bool
) -> Deviation:
    """Compare what a variant gives for some probes.

    Args:
        got: What it gives here.
        own: What it gave where the bundle was made.
        exact: What fp32 gave there.
        tolerance: How far from `own` rounding alone may take it; see :class:`~edgepipe.checking.probes.Probes`.
        elsewhere: Whether it was made on another processor, or with another engine.
    """
    tolerance *= _ELSEWHERE if elsewhere else 1.0
    names = sorted({name for rows in exact for row in rows for name in row})
    found = [_compare_output(name, got, own, exact, tolerance, elsewhere=elsewhere) for name in names]
    # The output that tells most: one that fails before one that passes.
    worst = max(found, key=lambda each: (not each.passed, each.from_export))
    noise = max([tolerance, *(each.exported for each in found if elsewhere)])
    changed, decided = _count_decisions(got, own, exact, noise)
    return Deviation(
        worst.from_export,
        worst.from_fp32,
        worst.exported,
        worst.worst,
        worst.output,
        changed,
        decided,
        worst.passed and not changed,
    )


def is_of_another(
    got: Sequence[Rows],
    own: Sequence[Rows],
    other: Sequence[Rows],
    exact: Sequence[Rows],
    tolerance: float,
    *,
    elsewhere: bool,
) -> bool:
    """Whether a variant gives what another one gave, and not what it gave itself.

    Args:
        got: What it gives here.
        own: What it gave where the bundle was made.
        other: What the other one gave there.
        exact: What fp32 gave there.
        tolerance: How far rounding alone may take it.
        elsewhere: Whether it was made on another processor, or with another engine.
    """
    apart = measure_distance(got, other, exact)
    if not elsewhere:
        return apart <= tolerance
    near = max(_ELSEWHERE * tolerance, _NEAR * measure_distance(other, exact, exact))
    return apart <= near and apart < _NEARER * measure_distance(got, own, exact)


def measure_distance(one: Sequence[Rows], other: Sequence[Rows], exact: Sequence[Rows]) -> float:
    """How far two series of outputs are apart: of the output where it is most."""
    names = sorted({name for rows in exact for row in rows for name in row})
    distances = [_distances(name, one, other, exact) for name in names]
    return max((_mean(each) for each in distances), default=0.0)


def _compare_output(
    name: str,
    got: Sequence[Rows],
    own: Sequence[Rows],
    exact: Sequence[Rows],
    tolerance: float,
    *,
    elsewhere: bool,
) -> Deviation:
    from_export, from_fp32 = _distances(name, got, own, exact), _distances(name, got, exact, exact)
    exported = _distances(name, own, exact, exact)
    mean = _mean(exported)
    near = max(tolerance, _NEAR * mean) if elsewhere else tolerance
    is_near = _mean(from_export) <= near and from_export.max(initial=0.0) <= _ONE * near
    farther = _FARTHER * (1 + 1 / math.sqrt(max(1, sum(1 for rows in own for _ in _values(name, rows)))))
    allowed = farther * exported + _ONE * tolerance
    as_near = _mean(from_fp32) <= farther * mean + tolerance and bool(
        (from_fp32 <= np.maximum(allowed, _ONE * mean)).all()
    )
    if as_near and _mean(from_fp32) < _NEARER * mean:
        as_near = _mean(from_fp32) > tolerance and _is_part(name, got, own, exact)
    worst = int(np.argmax(from_export - exported)) if len(from_export) else 0
    return Deviation(_mean(from_export), _mean(from_fp32), mean, worst, name, 0, 0, is_near or (elsewhere and as_near))


def _is_part(name: str, got: Sequence[Rows], own: Sequence[Rows], exact: Sequence[Rows]) -> bool:
    """Whether what `got` is off fp32 may be a part of what `own` is off: then the projection on it is about 1, else 0.

    Sketches are linear, so that they keep products of differences.
    """
    here, there, fp32 = (
        np.array([value for rows in each for value in _values(name, rows)], np.float64) for each in (got, own, exact)
    )
    error, owned = here - fp32, there - fp32
    projection = error @ owned / (error @ error)
    deviation = np.linalg.norm(owned) / np.linalg.norm(error) / math.sqrt(len(error))
    return bool(projection + _CHANCE * deviation >= _PART)


def _distances(name: str, one: Sequence[Rows], other: Sequence[Rows], exact: Sequence[Rows]) -> NDArray[np.float64]:
    """Of each probe, float64[probes]; infinite where an output is missing or has another shape."""
    scale = math.sqrt(np.mean([value**2 for each in exact for value in _values(name, each)] or [0.0])) or 1.0
    return np.array([_distance(name, *pair) / scale for pair in zip(one, other, strict=True)])


def _distance(name: str, one: Rows, other: Rows) -> float:
    pairs = [(row.get(name), wanted.get(name)) for row, wanted in zip(one, other, strict=False)]
    if len(one) != len(other) or any(not _are_alike(*pair) for pair in pairs):
        return math.inf
    first, second = (np.array(list(_values(name, rows)), np.float64) for rows in (one, other))
    return float(np.sqrt(np.mean((first - second) ** 2))) if len(first) else 0.0


def _are_alike(one: Sketch | None, other: Sketch | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and one.infinite == other.infinite and len(one.values) == len(other.values)


def _values(name: str, rows: Rows) -> Iterator[float]:
    for row in rows:
        if name in row:
            yield from row[name].values


def _mean(distances: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(distances**2))) if len(distances) else 0.0


def _count_decisions(got: Sequence[Rows], own: Sequence[Rows], exact: Sequence[Rows], noise: float) -> tuple[int, int]:
    """How many decisions are others, although no noise of that size explains it; and how many it cannot explain."""
    changed = decided = 0
    for rows, wanted, reference in zip(got, own, exact, strict=True):
        for row, mine, theirs in zip(rows, wanted, reference, strict=False):
            for name in mine.keys() & row.keys() & theirs.keys():
                size = max(map(abs, theirs[name].values), default=0.0)
                pairs = zip(row[name].best, mine[name].best, theirs[name].best, mine[name].margins, strict=False)
                for found, own_best, exact_best, margin in pairs:
                    if own_best == exact_best and margin > _ONE * noise * size:
                        decided += 1
                        changed += found != own_best
    return changed, decided
