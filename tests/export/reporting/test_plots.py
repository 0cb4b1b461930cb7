"""What plots show: their data decide, and nothing falls out of them."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from edgepipe_export.reporting.plots import (
    Axis,
    ConfusionPlot,
    CostPlot,
    DifferencePlot,
    Plot,
    Point,
    ScatterPlot,
    TimePlot,
)
from edgepipe_export.reporting.svg import render_svg
from tests.export.reporting.drawings import centres


def scatter(*points: Point, is_inverted: bool = False, is_bounded: bool = False) -> ScatterPlot:
    axis = Axis("quality", "{:g}".format, is_bounded, is_inverted)
    return ScatterPlot("title", "", "description", points, "cost", axis)


def draw(plot: Plot) -> ElementTree.Element:
    return ElementTree.fromstring(render_svg(plot, "plot"))


def marks(plot: Plot) -> dict[str, tuple[float, float]]:
    return centres(draw(plot))


def texts(plot: Plot) -> list[str]:
    return [text.text or "" for text in draw(plot).iter("text")]


def test_better_lies_higher_also_where_lower_is_better() -> None:
    low, high = Point("int8", 1, 10, "low"), Point("w8", 2, 20, "high")
    found = marks(scatter(low, high))
    assert found["high"][1] < found["low"][1]
    assert found["low"][0] < found["high"][0]
    found = marks(scatter(low, high, is_inverted=True))
    assert found["low"][1] < found["high"][1]


def test_nothing_is_better_than_the_best() -> None:
    shown = [float(text) for text in texts(scatter(Point("fp32", 1, 1.0, ""), is_bounded=True)) if text[:1].isdigit()]
    assert max(value for value in shown if value > 0.9) == 1  # and the axis of the cost is below 1.1
    best = Point("int8", 1, 1.0, "best")
    assert marks(scatter(best, is_bounded=True))["best"][1] < marks(scatter(best))["best"][1]  # no empty half above it
    assert len(marks(scatter(Point("fp32", 0, 0, "nothing")))) == 1


def test_the_front_leaves_out_what_another_beats() -> None:
    points = [Point(name, x, y, "", pareto=True) for name, x, y in (("c", 3, 3), ("a", 1, 1), ("worse", 2, 0.5))]
    assert [point.name for point in scatter(*points).front()] == ["a", "c"]
    assert [point.name for point in scatter(*points, is_inverted=True).front()] == ["a", "worse"]
    assert scatter(*(replace(point, pareto=None) for point in points)).front() == []


def test_a_spread_ends_where_the_plot_begins() -> None:
    points = Point("a", 1, 1, "a", spread=5), Point("b", 8, 1, "b", spread=1)
    assert [point.ends for point in points] == [(0, 6), (7, 9)]
    drawn = draw(scatter(*points))
    lines = [path.attrib["d"] for path in drawn.iter("path") if "--soft" in path.attrib["style"]]
    starts, ends = zip(*(map(float, re.findall(r"[ML] (\S+) ", line)) for line in lines), strict=True)
    assert 0 < starts[0] < ends[0] < starts[1] < ends[1] < Plot.width


def test_the_legend_names_what_is_there() -> None:
    plain = scatter(Point("fp32", 1, 1, ""), Point("int8", 1, 1, ""))
    assert {"fp32", "int8"} < set(texts(plain))
    assert not {"chosen", "missed its bound"} & set(texts(plain))
    full = scatter(Point("fp32", 1, 1, "", passed=False), Point("int8", 1, 1, "", chosen=True))
    assert {"chosen", "missed its bound"} < set(texts(full))


def test_a_variant_looks_the_same_in_every_plot() -> None:
    one = draw(scatter(Point("int8", 1, 1, "int8"), Point("w8", 2, 2, "w8")))
    other = draw(DifferencePlot("t", "", "d", ("logits",), {"w8": [0.5], "int8": [0.25]}))

    def colors(root: ElementTree.Element) -> dict[str, str]:
        return {
            (part.findtext("title") or "").partition(",")[0]: path.attrib["style"]
            .partition("fill: ")[2]
            .partition(";")[0]
            for part in root.iter("g")
            if part.find("title") is not None and (path := part.find(".//path")) is not None
        }

    assert colors(one) == colors(other) == {"int8": "var(--series-2)", "w8": "var(--series-4)"}


def test_differences_without_measure_zero_and_infinity() -> None:
    plot = DifferencePlot("t", "", "d", ("a", "b"), {"int8": [0.0, 1e-3], "w8": [None, math.inf]}, (1e-4, "a bound"))
    found = marks(plot)
    assert found.keys() == {"int8, a: 0", "int8, b: 1 \u00d7 10⁻³", "w8, b: no number"} or found.keys() == {
        "int8, a: 0", "int8, b: 0.001", "w8, b: no number",
    }  # fmt: skip
    xs = sorted(x for x, _ in found.values())
    assert xs[0] >= 0
    assert xs[-1] <= Plot.width
    assert found["int8, a: 0"][0] == xs[0]
    assert found["w8, b: no number"][0] == xs[-1]
    assert "a bound" in texts(plot)


def test_confusion_has_a_cell_for_what_happened() -> None:
    plot = ConfusionPlot("t", "", "d", ("good", "bad"), ((7, 2), (0, 5)), ("reference", "int8"))
    assert marks(plot).keys() == {
        "reference good, int8 good: 7", "reference good, int8 bad: 2", "reference bad, int8 bad: 5",
    }  # fmt: skip
    assert {"7", "2", "5", "good", "bad", "reference", "int8"} == set(texts(plot))


def test_parts_of_a_time_follow_each_other() -> None:
    plot = TimePlot("t", "", "d", {"fp32": (1.0, 2.0, 1.0)}, ("tokenizer", "graph", "rest"))
    centres = [marks(plot)[f"fp32, {name} ms"][0] for name in ("tokenizer: 1", "graph: 2", "rest: 1")]
    assert centres[1] - centres[0] == pytest.approx(centres[2] - centres[1], abs=0.1)
    assert "4 ms" in texts(plot)


def test_costs_say_what_was_raised() -> None:
    plot = CostPlot("t", "", "d", ("a" * 40, "b"), (math.inf, 0.5), (True, False), ("left in int8", "raised"))
    assert marks(plot).keys() == {f"{'a' * 40}: no number, raised", "b: 0.5, left in int8"}
    assert "…" + "a" * 29 in texts(plot)
