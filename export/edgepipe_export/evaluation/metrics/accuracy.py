"""Accuracy of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def label_accuracy(results: Sequence[Any], gold: Sequence[str]) -> Mapping[str, float]:
    """Share of texts whose best label is right; results are ``[{"label", "score"}, ...]``, best first."""
    return _accuracy([result[0]["label"] if isinstance(result, list) else result["label"] for result in results], gold)


def candidate_accuracy(results: Sequence[Mapping[str, Any]], gold: Sequence[str]) -> Mapping[str, float]:
    """Share of texts whose best candidate is right; results are ``{"labels", "scores"}``, best first."""
    return _accuracy([result["labels"][0] for result in results], gold)


def _accuracy(found: Sequence[str], gold: Sequence[str]) -> Mapping[str, float]:
    return {"accuracy": sum(one == other for one, other in zip(found, gold, strict=True)) / len(gold)}
