"""Inputs and results of any task, as lines that people read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from edgepipe_export.reporting.markup import Markup, element, joined
from edgepipe_export.reporting.wording import ABSENT, number

_MOST_LINES = 8
_MOST_CHARACTERS = 600

# What says which choice a result is, the most telling first.
_CHOICES = ("label", "entity", "entity_group", "answer", "token_str")


def told(value: Any) -> Markup:
    """An input or a result, a line a part; long ones are cut, and the JSON beside the page has all of it."""
    lines = list(islice(_lines(value), _MOST_LINES + 1))
    if not lines:
        return element("span", ABSENT)
    shown = [element("bdi", _cut(line)) for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        shown.append(element("span", "and more"))
    return joined(*(element("div", line) for line in shown))


def _lines(value: Any) -> Iterator[str]:
    if value is None:
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _lines(part)
    elif isinstance(value, Mapping):
        yield from _named(value)
    else:
        yield json.dumps(value)


def _named(value: Mapping[str, Any]) -> Iterator[str]:
    labels, scores = value.get("labels"), value.get("scores")
    choice = next((name for name in _CHOICES if isinstance(value.get(name), str)), None)
    if isinstance(labels, list) and isinstance(scores, list):  # zero-shot classification
        yield from (f"{label} {number(score)}" for label, score in zip(labels, scores, strict=False))
    elif choice is not None:
        word, score = value.get("word"), value.get("score")
        parts = (f"{word} →" if word else "", value[choice], number(score) if isinstance(score, float) else "")
        yield " ".join(part for part in parts if part)
    else:
        yield from (
            f"{name}: {part if isinstance(part, str) else json.dumps(part, ensure_ascii=False)}"
            for name, part in value.items()
        )


def _cut(line: str) -> str:
    return line if len(line) <= _MOST_CHARACTERS else line[:_MOST_CHARACTERS].rstrip() + " …"
