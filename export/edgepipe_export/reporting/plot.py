"""Where the parts of a scatter plot lie: quality upwards, cost to the right. The template draws it as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

# In units of the drawing, which a phone shows at about its own size.
_WIDTH, _HEIGHT = 360, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 346, 16, 214
_TEXT_HEIGHT, _LETTER_WIDTH = 12, 6.9
_MARK_REACH = 8.0


@dataclass(frozen=True, slots=True)
class Point:
    """One variant of the plot.

    Attributes:
        name: The label beside its mark.
        x: Its cost.
        y: Its quality.
        description: All of it in words: the mark's title.
        passed: Whether its bound held: a circle; otherwise a cross.
        pareto: Whether it lies on the Pareto front: a filled circle; otherwise a hollow one.
        chosen: Whether it was chosen: a ring around the mark.
        spread: How far its cost varied, to either side.
    """

    name: str
    x: float
    y: float
    description: str
    passed: bool = True
    pareto: bool = False
    chosen: bool = False
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of the plot.

    Attributes:
        label: What is measured, with its unit.
        format: Formats its values.
        from_zero: Whether it begins at zero.
        is_inverted: Whether lower values lie higher.
    """

    label: str
    format: Callable[[float], str]
    from_zero: bool = False
    is_inverted: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A point in the drawing: its centre, both ends of its spread, and where its label begins."""

    point: Point
    x: float
    y: float
    spread: tuple[float, float] | None
    label_x: float
    label_y: float


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing in units of its view box.

    Attributes:
        name: Its own name, for ids.
        title: What it shows.
        x_label: The label of the horizontal axis.
        y_axis: The vertical axis, which the caption names.
        rows: Grid lines: height and text.
        columns: Ticks: distance from the left, and text.
        front: The path of the Pareto front; None where fewer than two points lie on it.
        marks: A mark a point.
    """

    name: str
    title: str
    x_label: str
    y_axis: Axis
    rows: Sequence[tuple[float, str]]
    columns: Sequence[tuple[float, str]]
    front: str | None
    marks: Sequence[Mark]

    width: ClassVar[int] = _WIDTH
    height: ClassVar[int] = _HEIGHT
    left: ClassVar[int] = _LEFT
    right: ClassVar[int] = _RIGHT
    bottom: ClassVar[int] = _BOTTOM


def lay_out(name: str, title: str, x_axis: Axis, y_axis: Axis, points: Sequence[Point]) -> Plot:
    """Lay out a scatter plot of at least one point."""
    x_ticks = _choose_ticks([point.x for point in points], x_axis.from_zero)
    y_ticks = _choose_ticks([point.y for point in points], y_axis.from_zero)

    def to_x(value: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (value - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]), 2)

    def to_y(value: float) -> float:
        part = (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return round(_BOTTOM - (_BOTTOM - _TOP) * (1 - part if y_axis.is_inverted else part), 2)

    def to_spread(point: Point) -> tuple[float, float] | None:
        ends = max(to_x(point.x - point.spread), _LEFT), min(to_x(point.x + point.spread), _RIGHT)
        return ends if point.spread else None

    centres = [(to_x(point.x), to_y(point.y)) for point in points]
    labels = _place_labels([point.name for point in points], centres)
    return Plot(
        name,
        title,
        x_axis.label,
        y_axis,
        [(to_y(value), y_axis.format(value)) for value in y_ticks],
        [(to_x(value), x_axis.format(value)) for value in x_ticks],
        _draw_front([centre for point, centre in zip(points, centres, strict=True) if point.pareto]),
        [
            Mark(point, *centre, to_spread(point), *label)
            for point, centre, label in zip(points, centres, labels, strict=True)
        ],
    )


def _choose_ticks(values: Sequence[float], from_zero: bool) -> list[float]:
    """Round values that include all of `values`, about four steps."""
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


def _draw_front(centres: Sequence[tuple[float, float]]) -> str | None:
    """A path of steps through the points that no point to their left lies above."""
    steps: list[tuple[float, float]] = []
    for x, y in sorted(centres):
        if not steps or y < steps[-1][1]:
            steps.append((x, y))
    if len(steps) < 2:
        return None
    return f"M{steps[0][0]} {steps[0][1]}" + "".join(f"H{x}V{y}" for x, y in steps[1:])


def _place_labels(names: Sequence[str], centres: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The left end of each label's base line, where it covers the least of other labels and marks."""
    occupied = [(x - _MARK_REACH, y - _MARK_REACH, x + _MARK_REACH, y + _MARK_REACH) for x, y in centres]
    labels = []
    for name, (x, y) in zip(names, centres, strict=True):
        width = _LETTER_WIDTH * len(name)
        positions = [
            (x + side * 13 - (width if side < 0 else width / 2 if side == 0 else 0), y + 4 + rise)
            for rise in (0, -15, 15, -30, 30, -45, 45)
            for side in ((1, -1) if rise == 0 else (0, 1, -1))
        ]
        boxes = [(left, base - _TEXT_HEIGHT + 2, left + width, base + 2) for left, base in positions]
        best = min(range(len(boxes)), key=lambda index: _measure_overlap(boxes[index], occupied))
        occupied.append(boxes[best])
        labels.append((round(positions[best][0], 2), round(positions[best][1], 2)))
    return labels


Box = tuple[float, float, float, float]


def _measure_overlap(box: Box, occupied: Sequence[Box]) -> float:
    """How much a label would cover, in square units. What leaves the drawing counts most."""
    left, top, right, bottom = box
    outside = max(0.0, 2 - left) + max(0.0, right - _WIDTH + 2) + max(0.0, 2 - top) + max(0.0, bottom - _BOTTOM)
    covered = (
        max(0.0, min(right, other[2]) - max(left, other[0])) * max(0.0, min(bottom, other[3]) - max(top, other[1]))
        for other in occupied
    )
    return sum(covered) + 100 * outside
