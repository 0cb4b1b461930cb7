"""Figures that a bundle's maker recorded, beside those that were measured again: which of them hold here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgepipe.bundle.manifest import Parity

# No figure has to be nearer than this,
_ROUNDING = 1e-4
# a largest difference is one input's: it may be another by such a share of it,
_LARGEST = 0.25
# any other figure by a hundredth, of it where it is larger than 1, but never by more than such a share of it,
_MEAN, _SHARE = 0.01, 0.25
# and a bound of the interval of a metric's drop by so many points.
_POINTS = 0.5


@dataclass(frozen=True, slots=True)
class ReproducedFigure:
    """One figure.

    Attributes:
        dtype: The variant.
        name: The figure, by its name in ``edgepipe.json``; of the probes ``"probes.distance_from_fp32"``.
        recorded: What the bundle says.
        found: What was measured here; None where it was not.
        tolerance: How far the two may be apart; None where there is nothing to compare.
        obstacle: Why it was not measured; None where it was.
    """

    dtype: str
    name: str
    recorded: float
    found: float | None = None
    tolerance: float | None = None
    obstacle: str | None = None

    @property
    def reproduced(self) -> bool | None:
        """Whether it is the same within its tolerance; None where it was not measured."""
        if self.found is None or self.tolerance is None:
            return None
        return abs(self.found - self.recorded) <= self.tolerance or self.found == self.recorded

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self) | {"reproduced": self.reproduced}


def compare_parity(dtype: str, recorded: Parity, found: Parity) -> Iterator[ReproducedFigure]:
    """Compare the figures of a variant with those that were measured again.

    Args:
        dtype: The variant.
        recorded: What the manifest says.
        found: The same measurement, made here.

    Yields:
        Each figure of the manifest. Those that were measured on other inputs, or on another device, are not compared.
    """
    obstacle = _find_obstacle(recorded, found)
    values = found.list_figures()
    for name, value in recorded.list_figures().items():
        if obstacle is not None:
            yield ReproducedFigure(dtype, name, value, obstacle=obstacle)
        elif name not in values:
            yield ReproducedFigure(dtype, name, value, obstacle="this comparison does not give it")
        else:
            yield ReproducedFigure(dtype, name, value, values[name], _tolerance(name, value))


def _find_obstacle(recorded: Parity, found: Parity) -> str | None:
    if recorded.device != found.device:
        there = recorded.device or "cpu"
        return f"they were measured on {there} (--device {there})"
    if recorded.data_sha256 is not None and recorded.data_sha256 != found.data_sha256:
        return "they were measured on other data (--calibration)"
    if recorded.texts != found.texts:
        return f"they were measured on {recorded.texts} inputs, and not on these {found.texts}"
    return None


def _tolerance(name: str, value: float) -> float:
    size = abs(value)
    if name.startswith("max_"):
        return max(_ROUNDING, _LARGEST * size)
    if name.startswith("figures.drop_"):
        return _POINTS
    return max(_ROUNDING, min(_SHARE * size, _MEAN * max(1.0, size)))


def describe_reproduction(figures: Sequence[ReproducedFigure]) -> Iterator[str]:
    """In sentences: how many figures of each variant hold, each that does not, and why others were not measured."""
    for dtype in _list_dtypes(figures):
        measured = [each for each in figures if each.dtype == dtype and each.found is not None]
        if measured:
            same = sum(each.reproduced is True for each in measured)
            yield f"{dtype}: {same} of {len(measured)} recorded figures came out the same"
        for each in measured:
            if not each.reproduced:
                yield (
                    f"{dtype}: {each.name} is {each.found:.5g} here, recorded is {each.recorded:.5g} (tolerance "
                    f"{each.tolerance:.2g})"
                )
    for obstacle in dict.fromkeys(each.obstacle for each in figures if each.obstacle is not None):
        others = [each for each in figures if each.obstacle == obstacle]
        yield f"{', '.join(_list_dtypes(others))}: {len(others)} recorded figures were not measured: {obstacle}"


def _list_dtypes(figures: Sequence[ReproducedFigure]) -> list[str]:
    return list(dict.fromkeys(each.dtype for each in figures))
