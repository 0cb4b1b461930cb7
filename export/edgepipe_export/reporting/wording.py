"""Numbers and figures as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgepipe_export.reporting.markup import Markup, element

DISTANCE = "distance"
ABSENT = "\u2013"


@dataclass(frozen=True, slots=True)
class Figure:
    """What a figure of a comparison is called, and how it is written.

    Attributes:
        label: Its name in words.
        is_share: Whether it is a share of something, 0 to 1, and is written in parts of a hundred.
        less_is_better: Whether a lower value is the better one.
    """

    label: str
    is_share: bool = False
    less_is_better: bool = False


FIGURES: dict[str, Figure] = {
    "label_agreement": Figure("decides as the reference does", True),
    "token_agreement": Figure("same next token as the reference", True),
    "accuracy": Figure("accuracy", True),
    "f1": Figure("F1", True),
    "exact_match": Figure("exact match", True),
    "spearman": Figure("Spearman correlation"),
    "cosine_mean": Figure("mean cosine to the reference"),
    "cosine_min": Figure("lowest cosine to the reference"),
    "rank_agreement": Figure("same nearest neighbours", True),
    "perplexity": Figure("perplexity", less_is_better=True),
    "mean_score_diff": Figure("mean difference of scores"),
    "max_score_diff": Figure("largest difference of scores"),
    DISTANCE: Figure("distance to fp32", less_is_better=True),
    "kl": Figure("KL divergence, nats"),
}

# What shows a variant's quality best, the first that was measured.
QUALITIES = (
    "accuracy", "f1", "exact_match", "spearman", "cosine_mean", "perplexity", "token_agreement", "label_agreement",
)  # fmt: skip

_OF_REFERENCE = "reference_"


def figure(name: str) -> Figure:
    """How a figure is named and written; one that is not known, by its own name."""
    if name.startswith(_OF_REFERENCE):
        own = figure(name.removeprefix(_OF_REFERENCE))
        return Figure(f"{own.label}, of the reference", own.is_share)
    return FIGURES.get(name, Figure(name.replace("_", " ")))


def chosen_quality(measured: Mapping[str, float]) -> str | None:
    """The name of the figure that shows quality; None where none of them was measured."""
    return next((name for name in QUALITIES if name in measured), None)


def number(value: float | None) -> str:
    """A number with some four digits; what cannot be compared, in words."""
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return "no number"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\u202f")
    if abs(value) < 0.001:
        digits, power = f"{value:.1e}".split("e")
        return f"{digits} \u00d7 10{str(int(power)).translate(_RAISED)}"
    return f"{value:.4g}"


def share(value: float | None) -> str:
    """A share in parts of a hundred; rounded down, so that only what is whole reads 100 %."""
    if value is None or not math.isfinite(value):
        return number(value)
    return f"{math.floor(round(10_000 * value, 6)) / 100:.2f} %"


def size(count: int) -> str:
    """Bytes in the unit that suits them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def written(name: str, value: float | None) -> str:
    """A figure's value in the form that suits it."""
    return share(value) if figure(name).is_share else number(value)


def datum(text: str, value: float | None) -> Markup:
    """A number as it is read, with the exact one inside for programs."""
    exact = None if value is None or not math.isfinite(value) else repr(value)
    return element("span", text) if exact is None else element("data", text, value=exact)


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
