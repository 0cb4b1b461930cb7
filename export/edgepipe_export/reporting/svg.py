"""Plots as markup for a page: drawn by matplotlib, in the colours of the page's style, without references.

What matplotlib writes is a document of its own. Here its drawing alone is taken: text stays text in the page's font,
colours become variables of the style (light or dark), numbers are rounded, and nothing refers to anything.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from edgepipe_export.reporting.formatting import to_xml_text
from edgepipe_export.reporting.plots import INK, LINE, SOFT, VARIABLES

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from edgepipe_export.reporting.plots import Plot

# Inches of matplotlib's that are a pixel.
_DPI = 72

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgepipe",
    "text.parse_math": False,  # a dollar is a dollar
    "text.color": INK,
    "font.size": 11.5,
    "figure.dpi": _DPI,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "legend.scatterpoints": 1,
}
_NAMESPACE, _HREF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_DROPPED = {"metadata", "defs", "style"}
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_FONT_FAMILY = re.compile(r" ?font-family: [^;]*;")
_COLOR = re.compile(r"#[0-9a-f]{6}")


def render_svg(plot: Plot, name: str) -> str:
    """The ``<svg>`` element of a plot.

    Args:
        plot: The plot.
        name: What its ids in the page begin with.
    """
    document, tooltips = _draw(plot)
    root = ElementTree.fromstring(document)
    definitions = {path.attrib["id"]: path for path in root.iter(f"{_NAMESPACE}path") if "id" in path.attrib}
    root.tag = "svg"
    _clean(root, definitions, tooltips)
    root.attrib.clear()
    root.attrib |= {
        "viewBox": f"0 0 {plot.width} {plot.height}",
        "role": "img",
        "aria-labelledby": f"{name}-title",
        "aria-describedby": f"{name}-desc",
    }
    for position, (tag, text) in enumerate((("title", plot.title), ("desc", plot.description))):
        element = ElementTree.Element(tag, {"id": f"{name}-{tag}"})
        element.text = to_xml_text(text)
        root.insert(position, element)
    return ElementTree.tostring(root, encoding="unicode")


def _draw(plot: Plot) -> tuple[str, Mapping[str, str]]:
    with _quiet():
        from matplotlib import style
        from matplotlib.figure import Figure
        from matplotlib.text import Text
    with _quiet(), style.context(["default", _STYLE]):
        figure = Figure(figsize=(plot.width / _DPI, plot.height / _DPI), layout="constrained")
        tooltips = plot.draw(figure)
        for artist in figure.findobj():
            artist.set_clip_on(False)  # clipping is a reference
            if isinstance(artist, Text):
                artist.set_text(to_xml_text(artist.get_text()))
        page = io.StringIO()
        figure.savefig(page, format="svg", metadata={"Date": None})
    return page.getvalue(), tooltips


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep matplotlib from telling of fonts and of its cache of them: the page's own fonts are used."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _clean(element: Element, definitions: Mapping[str, Element], tooltips: Mapping[str, str]) -> None:
    """Take out of an element, and of all in it, what does not belong into a page.

    Args:
        element: The element; names lose their namespaces.
        definitions: What references stand for, by id.
        tooltips: What elements say when they are pointed at, by id.
    """
    for child in list(element):
        child.tag = child.tag.rpartition("}")[2]
        if child.tag == "use":
            _resolve(child, definitions)
        _clean(child, definitions, tooltips)
        is_hidden = child.tag == "path" and child.get("style") == "fill: none"
        is_empty = child.tag == "g" and not len(child)
        if child.tag in _DROPPED or is_hidden or is_empty:
            element.remove(child)
    element.text = element.text if element.tag == "text" else None
    element.tail = None
    tooltip = tooltips.get(element.attrib.pop("id", ""))
    for attribute, value in element.attrib.items():
        element.set(attribute, " ".join(_NUMBER.sub(lambda found: f"{float(found[0]):.2f}", value).split()))
    if "style" in element.attrib:
        style = _FONT_FAMILY.sub("", element.attrib["style"])
        element.set("style", _COLOR.sub(lambda found: f"var(--{VARIABLES[found[0]]})", style))
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    if tooltip is not None:
        title = ElementTree.Element("title")
        title.text = to_xml_text(tooltip)
        element.insert(0, title)


def _resolve(reference: Element, definitions: Mapping[str, Element]) -> None:
    """Make a reference to a path the path itself, in its place."""
    found = definitions[reference.attrib.pop(_HREF).removeprefix("#")]
    place = f"translate({reference.attrib.pop('x')} {reference.attrib.pop('y')})"
    reference.tag = "path"
    reference.attrib |= {"d": found.attrib["d"], "transform": place}
