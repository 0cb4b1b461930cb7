"""Metrics, numbers and results as people read them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

DISTANCE = "distance"
ABSENT = "\u2013"

_REFERENCE_PREFIX = "reference_"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MAX_LINES = 8

# XML has no way to write these: control characters, halves of surrogate pairs, and two noncharacters.
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_MAX_CHARACTERS = 600

# What names the choice of a result, the most telling first.
_LABEL_KEYS = ("label", "entity", "entity_group", "answer", "token_str")


@dataclass(frozen=True, slots=True)
class MetricFormat:
    """How a metric is named and formatted.

    Attributes:
        label: Its name in words.
        is_share: Whether it is a share, 0 to 1, and is shown in percent.
        lower_is_better: Whether a lower value is the better one.
        is_bounded: Whether 1 is its best value though it is no share, as it is of every share.
    """

    label: str
    is_share: bool = False
    lower_is_better: bool = False
    is_bounded: bool = False

    def format(self, value: float | None) -> str:
        """A value of the metric."""
        return format_share(value) if self.is_share else format_number(value)


METRICS: dict[str, MetricFormat] = {
    "label_agreement": MetricFormat("decides as the reference does", True),
    "token_agreement": MetricFormat("same next token as the reference", True),
    "accuracy": MetricFormat("accuracy", True),
    "f1": MetricFormat("F1", True),
    "exact_match": MetricFormat("exact match", True),
    "spearman": MetricFormat("Spearman correlation", is_bounded=True),
    "cosine_mean": MetricFormat("mean cosine to the reference", is_bounded=True),
    "cosine_min": MetricFormat("lowest cosine to the reference"),
    "rank_agreement": MetricFormat("same nearest neighbours", True),
    "perplexity": MetricFormat("perplexity", lower_is_better=True),
    "mean_score_diff": MetricFormat("mean difference of scores"),
    "max_score_diff": MetricFormat("largest difference of scores"),
    DISTANCE: MetricFormat("distance to fp32", lower_is_better=True),
    "kl": MetricFormat("KL divergence, nats"),
}

# What shows a variant's quality best: the first that was measured.
QUALITY_METRICS = (
    "accuracy", "f1", "exact_match", "spearman", "cosine_mean", "perplexity", "token_agreement", "label_agreement",
)  # fmt: skip


def find_metric(name: str) -> MetricFormat:
    """The format of a metric. An unknown one is called by its own name."""
    if name.startswith(_REFERENCE_PREFIX):
        own = find_metric(name.removeprefix(_REFERENCE_PREFIX))
        return MetricFormat(f"{own.label}, of the reference", own.is_share)
    return METRICS.get(name, MetricFormat(name.replace("_", " ")))


def to_xml_text(text: str) -> str:
    """A text without what XML cannot hold."""
    return _NOT_IN_XML.sub("\ufffd", text)


def format_number(value: float | None) -> str:
    """A number with about four digits."""
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
        return f"{digits} \u00d7 {format_power(int(power))}"
    return f"{value:.4g}"


def format_power(exponent: int) -> str:
    """A power of ten."""
    return f"10{str(exponent).translate(_SUPERSCRIPT)}"


def format_share(value: float | None) -> str:
    """A share in percent, rounded down: only 1.0 reads 100 %."""
    if value is None or not math.isfinite(value):
        return format_number(value)
    return f"{math.floor(round(10_000 * value, 6)) / 100:.2f} %"


def format_size(count: int) -> str:
    """A number of bytes, in the unit that suits it."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def format_option(value: Any) -> str:
    """The value of a recipe's option."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def format_input(value: Any, origin: str) -> list[str]:
    """An input, or its number where its text was kept out of the measurements."""
    if isinstance(value, Mapping) and value.keys() == {"number"}:
        return [f"input {value['number']} of {origin}"]
    return format_result(value)


def format_result(value: Any) -> list[str]:
    """An input or a result of any task, as lines. Long ones are cut; the JSON beside the page has all of it."""
    lines = list(islice(_split(value), _MAX_LINES + 1))
    shown = [
        line if len(line) <= _MAX_CHARACTERS else line[:_MAX_CHARACTERS].rstrip() + " …" for line in lines[:_MAX_LINES]
    ]
    return [*shown, *(["and more"] if len(lines) > _MAX_LINES else [])] or [ABSENT]


def _split(value: Any) -> Iterator[str]:
    if value is None:
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _split(part)
    elif isinstance(value, Mapping):
        yield from _split_mapping(value)
    else:
        yield json.dumps(value)


def _split_mapping(value: Mapping[str, Any]) -> Iterator[str]:
    labels, scores = value.get("labels"), value.get("scores")
    label = next((name for name in _LABEL_KEYS if isinstance(value.get(name), str)), None)
    if isinstance(labels, list) and isinstance(scores, list):  # zero-shot classification
        yield from (f"{label} {format_number(score)}" for label, score in zip(labels, scores, strict=False))
    elif label is not None:
        word, score = value.get("word"), value.get("score")
        parts = (f"{word} →" if word else "", value[label], format_number(score) if isinstance(score, float) else "")
        yield " ".join(part for part in parts if part)
    else:
        yield from (
            f"{name}: {part if isinstance(part, str) else json.dumps(part, ensure_ascii=False)}"
            for name, part in value.items()
        )
