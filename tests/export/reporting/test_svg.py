"""Plots as markup: text that is text, colours of the style, no references, the same every time."""

from __future__ import annotations

import re
import warnings
from xml.etree import ElementTree

from edgepipe_export.reporting.plots import VARIABLES, Axis, DifferencePlot, Point, ScatterPlot
from edgepipe_export.reporting.svg import render_svg

HOSTILE = '<script>$x^2$</script> & "quotes" \x00\x1b \ud800 \u0e01 ]]>'
PLOT = ScatterPlot(
    HOSTILE, "", HOSTILE, (Point("int8", 1, 1, HOSTILE, chosen=True, passed=False, pareto=True, spread=0.5),
    Point(HOSTILE, 2, 2, "other", pareto=True)), HOSTILE, Axis(HOSTILE, "{:g}".format),
)  # fmt: skip


def test_it_refers_to_nothing_and_has_no_colors_of_its_own() -> None:
    text = render_svg(PLOT, "name")
    assert not re.search(r"href|url\(|https?:|xmlns|<use|<style|clip|#[0-9a-f]{6}", text)
    used = set(re.findall(r"var\(--([\w-]+)\)", text))
    assert used <= {*VARIABLES.values()}
    assert {"ink", "bad", "series-2"} <= used


def test_texts_are_texts() -> None:
    root = ElementTree.fromstring(render_svg(PLOT, "name"))
    assert root.tag == "svg"
    clean = HOSTILE.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\ud800", "\ufffd")
    assert root[0].text == root[1].text == clean
    assert not list(root.iter("script"))
    shown = {element.text for element in root.iter("text")}
    assert clean in shown
    assert all("font-family" not in (element.get("style") or "") for element in root.iter())


def test_the_same_plot_is_the_same_text() -> None:
    assert render_svg(PLOT, "name") == render_svg(PLOT, "name")


def test_ids_begin_with_the_name() -> None:
    root = ElementTree.fromstring(render_svg(PLOT, "name"))
    assert [element.attrib["id"] for element in root.iter() if "id" in element.attrib] == ["name-title", "name-desc"]


def test_missing_glyphs_are_not_told() -> None:
    plot = DifferencePlot("t", "", "d", ("\u4e2d\u6587", "$a_b$"), {"int8": [0.5, 0.25]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = render_svg(plot, "name")
    assert "\u4e2d\u6587" in text
    assert "$a_b$" in text
