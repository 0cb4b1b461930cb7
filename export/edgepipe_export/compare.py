"""The arithmetic of parity: how far two sides are from each other, and whether that is within bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe_export.vectors import as_vectors, recognition, vector_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensors = Mapping[str, NDArray[np.float32]]

# Parity of fp32 with PyTorch: the reference within these, for every element.
ABSOLUTE = 1e-4
RELATIVE = 1e-3


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """How far output tensors are apart.

    Attributes:
        largest: Largest absolute difference by output.
        close: Whether every element is within :data:`ABSOLUTE` + :data:`RELATIVE` times the reference.
        finite: Whether every element is a number.
    """

    largest: Mapping[str, float]
    close: bool
    finite: bool


def compare_tensors(pairs: Iterator[tuple[Tensors, Tensors]]) -> TensorDifference:
    """Compare the outputs of one or more batches, (expected, got) each.

    A difference in names or shapes is a difference without bound.
    """
    largest: dict[str, float] = {}
    close = finite = True
    for expected, got in pairs:
        for name in sorted({*expected, *got}):
            if name not in expected or name not in got or expected[name].shape != got[name].shape:
                largest[name], close = float("inf"), False
                continue
            finite = finite and bool(np.isfinite(got[name]).all())
            close = close and np.allclose(got[name], expected[name], atol=ABSOLUTE, rtol=RELATIVE)
            difference = float(np.abs(got[name].astype(np.float64) - expected[name]).max(initial=0.0))
            # NaN compares as neither larger nor smaller, and would be lost in max().
            largest[name] = max(largest.get(name, 0.0), float("inf") if np.isnan(difference) else difference)
    return TensorDifference(largest, close, finite)


def structure_difference(expected: Any, got: Any, path: str = "result") -> str | None:
    """Where two results differ in more than rounding: keys, types, order, labels, or scores beyond 1e-4.

    Returns:
        The first difference in words; None if there is none.
    """
    if type(expected) is not type(got):
        return f"{path}: {type(got).__name__} instead of {type(expected).__name__}"
    if isinstance(expected, float):
        return None if abs(expected - got) <= ABSOLUTE else f"{path}: {got} instead of {expected}"
    if isinstance(expected, Mapping):
        if list(expected) != list(got):
            return f"{path}: keys {list(got)} instead of {list(expected)}"
        found = (structure_difference(expected[key], got[key], f"{path}[{key!r}]") for key in expected)
        return next((difference for difference in found if difference is not None), None)
    if isinstance(expected, list):
        if len(expected) != len(got):
            return f"{path}: {len(got)} entries instead of {len(expected)}"
        aligned = _without_tied_order(expected, got)
        found = (
            structure_difference(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(expected, aligned, strict=True))
        )
        return next((difference for difference in found if difference is not None), None)
    return None if expected == got else f"{path}: {got!r} instead of {expected!r}"


def _without_tied_order(expected: list[Any], got: list[Any]) -> list[Any]:
    """Put `got` in the order of `expected` where only the order of equal scores differs."""
    scores, other = score_map(expected), score_map(got)
    if scores is None or other is None or sorted(scores) != sorted(other):
        return got
    ordered = [scores[entry["label"]] for entry in got]
    if any(later > earlier + ABSOLUTE for earlier, later in pairwise(ordered)):
        return got  # not a tie: another order
    by_label = {entry["label"]: entry for entry in got}
    return [by_label[entry["label"]] for entry in expected]


def score_map(result: Any) -> dict[str, float] | None:
    """The scores of a result by label; None where its entries have no labels or have some twice."""
    entries = result if isinstance(result, list) else [result]
    if not all(isinstance(entry, Mapping) and {"label", "score"} <= entry.keys() for entry in entries):
        return None
    scores = {entry["label"]: float(entry["score"]) for entry in entries}
    return scores if len(scores) == len(entries) else None


@dataclass(frozen=True, slots=True)
class ResultDifference:
    """How far the results for texts are apart.

    Attributes:
        largest_score: Largest difference of a label's score, or cosine distance of vectors; None where results have
            neither.
        agreement: Share of texts whose best label is the same, or whose vector is recognized; None likewise.
        first: The first difference in structure, with its text; None if there is none.
    """

    largest_score: float | None
    agreement: float | None
    first: str | None


def compare_results(texts: Sequence[str], expected: Sequence[Any], got: Sequence[Any]) -> ResultDifference:
    """Compare the results for each text."""
    first = None
    scores: list[float] = []
    agreed: list[bool] = []
    vectors: list[tuple[Any, Any]] = []
    for text, wanted, found in zip(texts, expected, got, strict=True):
        states = as_vectors(wanted)
        if states is None:
            difference = structure_difference(wanted, found)
        else:
            difference = vector_difference(states, found, ABSOLUTE, RELATIVE)
            vectors.append((states, as_vectors(found)))
        if difference is not None and first is None:
            first = f"{text[:60]!r}: {difference}"
        reference, other = score_map(wanted), score_map(found)
        if reference and other and reference.keys() == other.keys():
            scores.append(max(abs(reference[label] - other[label]) for label in reference))
            agreed.append(max(reference, key=reference.__getitem__) == max(other, key=other.__getitem__))
    if vectors and all(other is not None for _, other in vectors):
        distance, recognized = recognition(*zip(*vectors, strict=True))
        return ResultDifference(float("inf") if np.isnan(distance) else distance, recognized, first)
    if not scores:
        return ResultDifference(None, None, first)
    worst = float("inf") if any(np.isnan(scores)) else max(scores)
    return ResultDifference(worst, sum(agreed) / len(agreed), first)
