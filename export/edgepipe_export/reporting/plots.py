"""The plots of a report: data that :mod:`edgepipe_export.reporting.svg` draws with matplotlib.

Variants differ in shape and colour, the same in every plot, so that no plot needs colours to be read.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgepipe.bundle.layout import SUFFIXES
from edgepipe_export.reporting.formatting import format_number, format_power, to_xml_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A color stands for a variable of the page's style, which is another in the dark; no other color may be used.
INK, SOFT, LINE, PAPER, ACCENT, BAD = (f"#00000{digit}" for digit in range(1, 7))
SERIES = tuple(f"#00001{digit}" for digit in range(8))
VARIABLES = {
    **dict(zip((INK, SOFT, LINE, PAPER, ACCENT, BAD), ("ink", "soft", "line", "paper", "accent", "bad"), strict=True)),
    **{color: f"series-{number}" for number, color in enumerate(SERIES)},
}
_MARKERS = "osD^v>p*"

# Areas of marks in square pixels.
_MARK, _SMALL_MARK, _RING, _CROSS = 85, 55, 230, 130

_ROW = 20  # pixels
_STEPS = (1, 2, 2.5, 5, 10)  # of ticks
_LONGEST_NAME = 30

# Bars are told apart without colours, too.
_STRONG: dict[str, Any] = {"color": ACCENT, "alpha": 1.0}
_MIDDLE: dict[str, Any] = {"color": ACCENT, "alpha": 0.55}
_WEAK: dict[str, Any] = {"color": ACCENT, "alpha": 0.25}


@dataclass(frozen=True, slots=True)
class Plot(ABC):
    """A drawing.

    Attributes:
        title: What it shows.
        caption: How it is read.
        description: All of it in words, for those who cannot see it.
    """

    width: ClassVar[int] = 360

    title: str
    caption: str
    description: str

    @property
    @abstractmethod
    def height(self) -> int:
        """In pixels, of which it is :attr:`width` wide."""

    @abstractmethod
    def draw(self, figure: Figure) -> Mapping[str, str]:
        """Draw it into an empty figure.

        Returns:
            What parts say when they are pointed at, by the ``gid`` of the part.
        """


@dataclass(frozen=True, slots=True)
class Point:
    """One variant of a scatter plot.

    Attributes:
        name: Its dtype, which decides shape and colour.
        x: Its cost.
        y: Its quality.
        description: All of it in words.
        passed: Whether its bound held.
        pareto: Whether no other is better; None where that was not found out.
        chosen: Whether it was chosen.
        spread: How far its cost varied, to either side.
    """

    name: str
    x: float
    y: float
    description: str
    passed: bool = True
    pareto: bool | None = None
    chosen: bool = False
    spread: float = 0.0

    @property
    def ends(self) -> tuple[float, float]:
        """Where the line of its spread ends: not left of the plot."""
        return max(0.0, self.x - self.spread), self.x + self.spread


@dataclass(frozen=True, slots=True)
class Axis:
    """The upright direction of a scatter plot.

    Attributes:
        label: What is measured.
        format: Formats its values.
        is_bounded: Whether 1 is the best value.
        is_inverted: Whether lower values lie higher.
    """

    label: str
    format: Callable[[float], str]
    is_bounded: bool = False
    is_inverted: bool = False


@dataclass(frozen=True, slots=True)
class ScatterPlot(Plot):
    """Quality upwards, cost to the right.

    Attributes:
        points: At least one.
        x_label: What is measured to the right, with its unit.
        y_axis: What is measured upwards.
    """

    points: tuple[Point, ...]
    x_label: str
    y_axis: Axis

    @property
    def height(self) -> int:
        """See :class:`Plot`."""
        return 290 + 16 * ((len(self._legend()) + 1) // 2)

    def front(self) -> list[Point]:
        """The points on the Pareto front that none to their left lies above, from the left."""
        sign = -1 if self.y_axis.is_inverted else 1
        steps: list[Point] = []
        for point in sorted(self.points, key=lambda point: (point.x, -sign * point.y)):
            if point.pareto and (not steps or sign * point.y > sign * steps[-1].y):
                steps.append(point)
        return steps

    def draw(self, figure: Figure) -> Mapping[str, str]:
        """See :class:`Plot`."""
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        axes = figure.add_subplot()
        front = self.front()
        if len(front) > 1:
            axes.plot([p.x for p in front], [p.y for p in front], drawstyle="steps-post", color=SOFT, ls="--", lw=1)
        tooltips = {}
        for number, point in enumerate(self.points):
            if point.spread:
                axes.plot(point.ends, [point.y] * 2, color=SOFT, lw=1.5)
            gid = f"point-{number}"
            tooltips[gid] = point.description
            _mark(axes, point.x, point.y, point.name, hollow=point.pareto is False, gid=gid)
            if point.chosen:
                axes.scatter([point.x], [point.y], s=_RING, facecolors="none", edgecolors=INK, linewidths=1.5)
            if not point.passed:
                axes.scatter([point.x], [point.y], s=_CROSS, marker="x", c=BAD, linewidths=2)
        axes.set_xlabel(self.x_label)
        axes.set_ylabel(self.y_axis.label)
        axes.set_xlim(0, 1.08 * max(point.x + point.spread for point in self.points) or 1)
        low, high = self._limits()
        axes.set_ylim(low, high)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        ticks = [float(tick) for tick in MaxNLocator(5, steps=_STEPS).tick_values(low, high) if low <= tick <= high]
        axes.set_yticks([tick for tick in ticks if not self.y_axis.is_bounded or tick <= 1 + 1e-9])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: self.y_axis.format(value)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if self.y_axis.is_inverted:
            axes.invert_yaxis()
        _legend(figure, axes, self._legend())
        return tooltips

    def _limits(self) -> tuple[float, float]:
        """A range in which small differences look small: at least half a hundredth up to 1, or 1 % of other values."""
        values = [point.y for point in self.points]
        low, high = min(values), max(values)
        least = 0.005 if self.y_axis.is_bounded else 0.01 * max(abs(low), abs(high)) or 1.0
        margin = max(0.12 * (high - low), (least - (high - low)) / 2)
        low, high = low - margin, high + margin
        return low, min(high, 1 + 0.08 * (high - low)) if self.y_axis.is_bounded else high

    def _legend(self) -> list[tuple[str, dict[str, Any]]]:
        entries = [(p.name, _look(p.name, hollow=p.pareto is False)) for p in self.points]
        if any(point.chosen for point in self.points):
            entries.append(("chosen", {"s": _RING, "facecolors": "none", "edgecolors": INK, "linewidths": 1.5}))
        if not all(point.passed for point in self.points):
            entries.append(("missed its bound", {"s": _CROSS, "marker": "x", "c": BAD, "linewidths": 2}))
        return entries


@dataclass(frozen=True, slots=True)
class DifferencePlot(Plot):
    """Differences by tensor on a logarithmic scale, a mark a variant.

    Attributes:
        tensors: The names, the first at the top.
        differences: By dtype: a difference a tensor; None where it was not measured.
        bound: A difference to mark, and what it is.
    """

    tensors: tuple[str, ...]
    differences: Mapping[str, Sequence[float | None]]
    bound: tuple[float, str] | None = None

    @property
    def height(self) -> int:
        """See :class:`Plot`."""
        return 90 + _ROW * len(self.tensors) + 16 * ((len(self.differences) + 2) // 2)

    def draw(self, figure: Figure) -> Mapping[str, str]:
        """See :class:`Plot`."""
        from matplotlib.ticker import FuncFormatter, NullLocator

        axes = figure.add_subplot()
        found = [value for values in self.differences.values() for value in values if value and math.isfinite(value)]
        known = [*found, *([self.bound[0]] if self.bound else [])] or [1.0]
        low, high = 10.0 ** math.floor(math.log10(min(known)) - 0.5), 10.0 ** math.ceil(math.log10(max(known)) + 0.3)
        tooltips = {}
        for number, (dtype, values) in enumerate(self.differences.items()):
            for row, value in enumerate(values):
                if value is None:
                    continue
                gid = f"difference-{number}-{row}"
                tooltips[gid] = f"{dtype}, {self.tensors[row]}: {format_number(value)}"
                _mark(axes, min(max(value, low), high), row, dtype, gid=gid, area=_SMALL_MARK)
                if not math.isfinite(value):
                    axes.scatter([high], [row], s=_CROSS, marker="x", c=BAD, linewidths=2)
        entries = [(dtype, _look(dtype, area=_SMALL_MARK)) for dtype in self.differences]
        if self.bound is not None:
            axes.axvline(self.bound[0], color=BAD, ls=":", lw=1.2)
            entries.append((self.bound[1], {"s": 60, "marker": "|", "c": BAD, "linewidths": 1.2}))
        axes.set_xscale("log")
        axes.set_xlim(0.6 * low, 1.7 * high)
        axes.set_xlabel("largest absolute difference")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_power(round(math.log10(value)))))
        _name_rows(axes, self.tensors)
        _legend(figure, axes, entries)
        return tooltips


@dataclass(frozen=True, slots=True)
class ConfusionPlot(Plot):
    """How often a label of the reference became which of the variant's.

    Attributes:
        labels: The labels.
        counts: A row a label of the reference, a column a label of the variant.
        sides: What the reference and the variant are called.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    sides: tuple[str, str]

    @property
    def height(self) -> int:
        """See :class:`Plot`."""
        return (
            60 + 6 * min(_LONGEST_NAME // 2, max(map(len, self.labels))) + (26 if self._many else 34) * len(self.labels)
        )

    @property
    def _many(self) -> bool:
        return len(self.labels) > 6

    def draw(self, figure: Figure) -> Mapping[str, str]:
        """See :class:`Plot`."""
        from matplotlib.patches import Rectangle

        axes = figure.add_subplot()
        size = len(self.labels)
        tooltips = {}
        for row, counts in enumerate(self.counts):
            total = sum(counts) or 1
            for column, count in enumerate(counts):
                if not count:
                    continue
                share = count / total
                # What changed is seldom much; it is made to be seen all the same.
                strength = 0.15 + 0.7 * share if row == column else 0.25 + 0.6 * min(1.0, 2 * share)
                color = ACCENT if row == column else BAD
                gid = f"cell-{row}-{column}"
                one, other = self.labels[row], self.labels[column]
                tooltips[gid] = f"{self.sides[0]} {one}, {self.sides[1]} {other}: {count}"
                cell = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=color, alpha=strength, gid=gid)
                axes.add_patch(cell)
                color = PAPER if strength > 0.5 else INK
                written = f"{count // 1000}k" if self._many and count >= 10_000 else f"{count}"
                axes.text(column, row, written, ha="center", va="center", color=color, size=9 if self._many else None)
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        names = [_shorten(label, _LONGEST_NAME // 2, start=_LONGEST_NAME // 4) for label in self.labels]
        upright = self._many or max(map(len, names)) * size > 34
        axes.set_xticks(range(size), names, rotation=90 if upright else 0)
        axes.set_yticks(range(size), names)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel(to_xml_text(self.sides[1]))
        axes.set_ylabel(to_xml_text(self.sides[0]))
        axes.grid(visible=False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)
        return tooltips


@dataclass(frozen=True, slots=True)
class TimePlot(Plot):
    """Milliseconds by part, stacked, a bar a variant.

    Attributes:
        times: By dtype: milliseconds of each part.
        parts: The parts, from the left.
    """

    times: Mapping[str, tuple[float, ...]]
    parts: tuple[str, ...]

    @property
    def height(self) -> int:
        """See :class:`Plot`."""
        return 92 + 30 * len(self.times)

    def draw(self, figure: Figure) -> Mapping[str, str]:
        """See :class:`Plot`."""
        axes = figure.add_subplot()
        longest = max(sum(values) for values in self.times.values()) or 1.0
        tooltips = {}
        looks = [_MIDDLE, _STRONG, _WEAK]
        for row, (dtype, values) in enumerate(self.times.items()):
            start = 0.0
            for number, value in enumerate(values):
                (bar,) = axes.barh(row, value, left=start, height=0.62, edgecolor=PAPER, linewidth=0.8, **looks[number])
                bar.set_gid(f"part-{row}-{number}")
                tooltips[f"part-{row}-{number}"] = f"{dtype}, {self.parts[number]}: {format_number(value)} ms"
                start += value
            axes.text(start + 0.015 * longest, row, f"{format_number(start)} ms", va="center", color=INK)
        axes.set_xlim(0, 1.25 * longest)
        axes.set_xlabel("milliseconds a request")
        _name_rows(axes, tuple(self.times))
        axes.grid(visible=False)
        entries = [
            (part, {"s": 90, "marker": "s", "edgecolors": PAPER, "facecolors": look["color"], "alpha": look["alpha"]})
            for part, look in zip(self.parts, looks, strict=True)
        ]
        _legend(figure, axes, entries, columns=len(entries))
        return tooltips


@dataclass(frozen=True, slots=True)
class CostPlot(Plot):
    """What layers cost, a bar each.

    Attributes:
        layers: Their names, the most costly first.
        costs: The cost of each.
        raised: Whether a repair raised it.
        precisions: What the bars of layers that were left and raised are called.
    """

    layers: tuple[str, ...]
    costs: tuple[float, ...]
    raised: tuple[bool, ...]
    precisions: tuple[str, str]

    @property
    def height(self) -> int:
        """See :class:`Plot`."""
        return 92 + _ROW * len(self.layers)

    def draw(self, figure: Figure) -> Mapping[str, str]:
        """See :class:`Plot`."""
        axes = figure.add_subplot()
        highest = max((cost for cost in self.costs if math.isfinite(cost)), default=0.0) or 1.0
        tooltips = {}
        for row, (cost, raised) in enumerate(zip(self.costs, self.raised, strict=True)):
            shown = cost if math.isfinite(cost) else highest
            (bar,) = axes.barh(row, shown, height=0.62, **(_STRONG if raised else _WEAK))
            bar.set_gid(f"layer-{row}")
            tooltips[f"layer-{row}"] = f"{self.layers[row]}: {format_number(cost)}, {self.precisions[raised]}"
            if not math.isfinite(cost):
                axes.scatter([highest], [row], s=_CROSS, marker="x", c=BAD, linewidths=2)
        axes.set_xlim(0, 1.05 * highest)
        axes.set_xlabel("cost")
        _name_rows(axes, self.layers)
        axes.grid(visible=False)
        looks_of = [(self.precisions[1], _STRONG), (self.precisions[0], _WEAK)]
        entries = [
            (name, {"s": 90, "marker": "s", "facecolors": look["color"], "edgecolors": "none", "alpha": look["alpha"]})
            for name, look in looks_of
        ]
        _legend(figure, axes, entries)
        return tooltips


def _look(dtype: str, *, hollow: bool = False, area: int = _MARK) -> dict[str, Any]:
    """Shape and colour of a variant: the same in every report."""
    known = list(SUFFIXES)
    number = known.index(dtype) % len(SERIES) if dtype in known else len(SERIES) - 1
    color = SERIES[number]
    return {
        "marker": _MARKERS[number],
        "s": area,
        "facecolors": PAPER if hollow else color,
        "edgecolors": color if hollow else PAPER,  # marks that overlap are told apart
        "linewidths": 1.5 if hollow else 0.7,
    }


def _mark(axes: Axes, x: float, y: float, dtype: str, *, gid: str, hollow: bool = False, area: int = _MARK) -> None:
    # One call a mark: of several matplotlib makes references, which have no place in a page with other drawings.
    axes.scatter([x], [y], gid=gid, zorder=3, **_look(dtype, hollow=hollow, area=area))


def _legend(figure: Figure, axes: Axes, entries: Sequence[tuple[str, Mapping[str, Any]]], columns: int = 2) -> None:
    handles = [axes.scatter([], [], label=to_xml_text(name), **look) for name, look in entries]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handletextpad=0.3, columnspacing=1.2)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_shorten(name, _LONGEST_NAME) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)


def _shorten(name: str, longest: int, *, start: int = 0) -> str:
    """The end of a long name, where layers differ, behind so many letters of its start."""
    name = to_xml_text(name)
    return name if len(name) <= longest else f"{name[:start]}…{name[start + 1 - longest :]}"
