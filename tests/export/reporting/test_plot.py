"""Where the parts of a scatter plot lie."""

from __future__ import annotations

from edgepipe_export.reporting.plot import Axis, Plot, Point, lay_out


def plot(*points: Point, from_zero: bool = True, is_inverted: bool = False) -> Plot:
    x_axis = Axis("cost", "{:g}".format, from_zero=from_zero)
    return lay_out("name", "title", x_axis, Axis("quality", "{:g}".format, is_inverted=is_inverted), points)


def test_ticks_are_round_and_include_all_points() -> None:
    found = plot(Point("a", 3, 0.91, ""), Point("b", 9.7, 0.98, ""))
    assert [text for _, text in found.columns] == ["0", "5", "10"]
    assert (found.columns[0][0], found.columns[-1][0]) == (Plot.left, Plot.right)
    assert [text for _, text in found.rows] == ["0.9", "0.92", "0.94", "0.96", "0.98"]


def test_one_point_has_room_to_both_sides() -> None:
    found = plot(Point("a", 0, 0, ""), from_zero=False)
    (mark,) = found.marks
    assert found.columns[0][0] < found.columns[-1][0]
    assert Plot.left <= mark.x <= Plot.right
    assert found.front is None
    assert mark.spread is None


def test_better_lies_higher_also_where_lower_is_better() -> None:
    low, high = Point("low", 1, 10, ""), Point("high", 2, 20, "")
    first, second = plot(low, high).marks
    assert second.y < first.y
    first, second = plot(low, high, is_inverted=True).marks
    assert first.y < second.y


def test_the_front_leaves_out_what_another_beats() -> None:
    points = [Point(name, x, y, "", pareto=True) for name, x, y in (("c", 3, 3), ("a", 1, 1), ("worse", 2, 0.5))]
    found = plot(*points)
    c, a, _ = found.marks
    assert found.front == f"M{a.x} {a.y}H{c.x}V{c.y}"


def test_a_spread_ends_at_the_border() -> None:
    found = plot(Point("a", 1, 1, "", spread=100), Point("b", 2, 2, ""))
    assert found.marks[0].spread == (Plot.left, Plot.right)


def test_labels_of_points_in_one_place_keep_apart() -> None:
    found = plot(*(Point(name, 1, 1, "") for name in ("one", "two", "six")))
    assert len({(mark.label_x, mark.label_y) for mark in found.marks}) == 3
