"""The picture of the README shows what was measured, and its description says the same."""

from __future__ import annotations

import re

import pytest
from benchmarks.pipelines.picture import MEASURES, OUTPUT, STYLES, read

from tests.documentation.pages import text


def shown(value: float) -> str:
    return f"{value:.3g}"


@pytest.mark.parametrize("style", STYLES)
def test_every_figure_is_drawn(style: str) -> None:
    drawn = re.findall(r">([^<>]+)</text>", (OUTPUT / f"request-{style}.svg").read_text(encoding="utf-8"))
    for each in read():
        for field, factor, title in MEASURES:
            assert title in drawn
            assert shown(each[field]["median"] * factor) in drawn


def test_the_description_says_the_same() -> None:
    (description,) = re.findall(r'<img alt="([^"]+)"', text("README.md"))
    first, last = read()[0], read()[-1]
    for each in (first, last):
        for field, factor, _ in MEASURES:
            assert re.search(rf"(?<![\d.]){re.escape(shown(each[field]['median'] * factor))}(?![\d.])", description)
