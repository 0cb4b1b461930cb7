"""What a drawing of the report shows, read from its markup."""

from __future__ import annotations

import re
import statistics
from xml.etree.ElementTree import Element


def tooltips(drawing: Element) -> list[str]:
    """What its parts say when they are pointed at."""
    return [title.text or "" for part in drawing.iter("g") if (title := part.find("title")) is not None]


def centres(drawing: Element) -> dict[str, tuple[float, float]]:
    """The centre of each part that says something, by what it says: from the left, from the top."""
    found = {}
    for part in drawing.iter("g"):
        title, path = part.find("title"), part.find(".//path")
        if title is not None and path is not None:
            moved = re.match(r"translate\((\S+) (\S+)\)", path.get("transform", "translate(0 0)"))
            assert moved is not None
            pairs = re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.attrib["d"])
            sides = [{float(pair[axis]) + float(moved[axis + 1]) for pair in pairs} for axis in (0, 1)]
            found[title.text or ""] = (statistics.fmean(sides[0]), statistics.fmean(sides[1]))
    return found
