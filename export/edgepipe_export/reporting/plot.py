"""A scatter plot as SVG: quality upwards, what it costs to the right, the Pareto front as a line."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgepipe_export.reporting.markup import Markup, element, joined

# In units of the drawing, which is shown at about its own size on a telephone.
_WIDTH, _HEIGHT = 360, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 346, 16, 214
_TEXT, _LETTER = 12, 6.9
_RADIUS = 5.5


@dataclass(frozen=True, slots=True)
class Point:
    """One variant of the plot.

    Attributes:
        name: What stands beside it.
        x: What it costs.
        y: Its quality.
        told: All of it in words, for those who do not see the plot, or point at it.
        passed: Whether it kept its bound: a circle; else a cross.
        pareto: Whether it lies on the front: filled; else hollow.
        chosen: Whether it was chosen: ringed.
        spread: How far its cost varied, to either side.
    """

    name: str
    x: float
    y: float
    told: str
    passed: bool = True
    pareto: bool = False
    chosen: bool = False
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of the plot.

    Attributes:
        label: What is measured, with its unit.
        written: How its values are written.
        from_zero: Whether it begins at zero.
        falls: Whether it falls, upwards: the better is always higher.
    """

    label: str
    written: Callable[[float], str]
    from_zero: bool = False
    falls: bool = False


def scatter(name: str, title: str, across: Axis, upwards: Axis, points: Sequence[Point]) -> Markup:
    """Draw points.

    Args:
        name: The drawing's own, for its title's id.
        title: What it shows.
        across: The horizontal axis.
        upwards: The vertical axis.
        points: At least one.
    """
    columns = _ticks([point.x for point in points], across.from_zero)
    rows = _ticks([point.y for point in points], upwards.from_zero)

    def right(value: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (value - columns[0]) / (columns[-1] - columns[0]), 2)

    def down(value: float) -> float:
        part = (value - rows[0]) / (rows[-1] - rows[0])
        return round(_BOTTOM - (_BOTTOM - _TOP) * (1 - part if upwards.falls else part), 2)

    placed = [(point, right(point.x), down(point.y)) for point in points]
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        *(_row(down(value), upwards.written(value)) for value in rows),
        *(_column(right(value), across.written(value)) for value in columns),
        element("text", across.label, x=_RIGHT, y=_BOTTOM + 38, text_anchor="end", class_="axis"),
        _front(placed),
        *(
            _spread(right(point.x - point.spread), right(point.x + point.spread), y)
            for point, _, y in placed
            if point.spread
        ),
        *(_mark(point, x, y) for point, x, y in placed),
        *_names(placed),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_labelledby=f"{name}-title",
    )


def mark(passed: bool, pareto: bool, chosen: bool) -> Markup:
    """The sign of a point by itself, for a legend."""
    return element(
        "svg",
        _sign(passed, pareto, chosen, 9, 9),
        viewBox="0 0 18 18",
        width=18,
        height=18,
        class_="sign",
        aria_hidden="true",
    )


def _ticks(values: Sequence[float], from_zero: bool) -> list[float]:
    """Round values that include all of `values`, some four steps apart."""
    low, high = min(values), max(values)
    low = 0.0 if from_zero else low
    reach = (high - low) or abs(high) * 0.02 or 1.0
    rough = 1.1 * reach / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power) if step >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        first, last = first - 1, last + 1
    return [round(step * index, 12) for index in range(first, last + 1)]


def _row(y: float, text: str) -> Markup:
    return joined(
        element("line", x1=_LEFT, x2=_RIGHT, y1=y, y2=y, class_="grid"),
        element("text", text, x=_LEFT - 7, y=y + 4, text_anchor="end"),
    )


def _column(x: float, text: str) -> Markup:
    return joined(
        element("line", x1=x, x2=x, y1=_BOTTOM, y2=_BOTTOM + 4, class_="grid"),
        element("text", text, x=x, y=_BOTTOM + 18, text_anchor="middle"),
    )


def _front(placed: Sequence[tuple[Point, float, float]]) -> Markup | None:
    """The line through those of the front that nothing to their left lies above."""
    steps: list[tuple[float, float]] = []
    for point, x, y in sorted(placed, key=lambda entry: (entry[1], entry[2])):
        if point.pareto and (not steps or y < steps[-1][1]):
            steps.append((x, y))
    if len(steps) < 2:
        return None
    path = f"M{steps[0][0]} {steps[0][1]}" + "".join(f"H{x}V{y}" for x, y in steps[1:])
    return element("path", d=path, class_="front")


def _spread(left: float, right: float, y: float) -> Markup:
    return element("line", x1=max(left, _LEFT), x2=min(right, _RIGHT), y1=y, y2=y, class_="spread")


def _mark(point: Point, x: float, y: float) -> Markup:
    return element("g", element("title", point.told), _sign(point.passed, point.pareto, point.chosen, x, y))


def _sign(passed: bool, pareto: bool, chosen: bool, x: float, y: float) -> Markup:
    ring = element("circle", cx=x, cy=y, r=_RADIUS + 3, class_="ring") if chosen else None
    if not passed:
        arm = _RADIUS - 0.5
        path = f"M{x - arm:g} {y - arm:g}L{x + arm:g} {y + arm:g}M{x - arm:g} {y + arm:g}L{x + arm:g} {y - arm:g}"
        return joined(ring, element("path", d=path, class_="cross"))
    return joined(ring, element("circle", cx=x, cy=y, r=_RADIUS, class_="full" if pareto else "hollow"))


def _names(placed: Sequence[tuple[Point, float, float]]) -> list[Markup]:
    """Each point's name where it covers the least of the others' names and signs."""
    taken = [(x - 8.0, y - 8.0, x + 8.0, y + 8.0) for _, x, y in placed]
    names = []
    for point, x, y in placed:
        width = _LETTER * len(point.name)
        corners = [
            (x + side * 13 - (width if side < 0 else width / 2 if side == 0 else 0), y + 4 + rise)
            for rise in (0, -15, 15, -30, 30, -45, 45)
            for side in ((1, -1) if rise == 0 else (0, 1, -1))
        ]
        left, base = min(corners, key=lambda corner: _covered(corner, width, taken))
        taken.append((left, base - _TEXT + 2, left + width, base + 2))
        names.append(element("text", point.name, x=round(left, 2), y=round(base, 2), class_="name"))
    return names


def _covered(corner: tuple[float, float], width: float, taken: Sequence[tuple[float, float, float, float]]) -> float:
    """How much a name at `corner` would cover, in square units; what leaves the drawing counts most."""
    left, base = corner
    right, top, bottom = left + width, base - _TEXT + 2, base + 2
    outside = max(0.0, 2 - left) + max(0.0, right - _WIDTH + 2) + max(0.0, 2 - top) + max(0.0, bottom - _BOTTOM)
    over = (
        max(0.0, min(right, other[2]) - max(left, other[0])) * max(0.0, min(bottom, other[3]) - max(top, other[1]))
        for other in taken
    )
    return sum(over) + 100 * outside
