"""The arithmetic of parity: how far tensors and results are apart, and whether that is within bounds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe_export.evaluation.metrics.confusion import best_choice
from edgepipe_export.evaluation.metrics.embedding_similarity import compare_embeddings, recognize, unit_vectors
from edgepipe_export.evaluation.tolerances import ABSOLUTE, RELATIVE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe_export.evaluation.metrics.confusion import Decisions

    Tensors = Mapping[str, NDArray[np.float32]]
    Vectors = NDArray[np.float64]

# What an entry of a ranking chooses: a label, a token in place of a mask, an answer.
_CHOICES = {"label", "token", "answer"}


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


def distance(pairs: Iterable[tuple[Tensors, Tensors]]) -> float:
    """Root mean square difference of outputs, (expected, got), relative to the root mean square of the expected."""
    difference = size = 0.0
    for expected, got in pairs:
        for name in expected:
            exact = expected[name].astype(np.float64)
            difference += float(((got[name] - exact) ** 2).sum())
            size += float((exact**2).sum())
    # What is no number is farther than anything that is one.
    found = math.sqrt(difference / size) if size else 0.0
    return math.inf if math.isnan(found) else found


def structure_difference(expected: Any, got: Any, path: str = "result") -> str | None:
    """Where two results differ in more than rounding: keys, types, order, labels, or scores beyond 1e-4.

    Returns:
        The first difference in words; None if there is none.
    """
    if isinstance(expected, np.floating):  # transformers' token classification; ours gives Python's numbers
        expected = float(expected)
    if type(expected) is not type(got):
        return f"{path}: {type(got).__name__} instead of {type(expected).__name__}"
    if isinstance(expected, float):
        return None if abs(expected - got) <= ABSOLUTE else f"{path}: {got} instead of {expected}"
    if isinstance(expected, Mapping):
        if list(expected) != list(got):
            return f"{path}: keys {list(got)} instead of {list(expected)}"
        expected, got = _with_entries(expected), _with_entries(got)
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


def _with_entries(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Zero-shot classification's two lists, labels and scores, as one list of entries that have both."""
    if not {"labels", "scores"} <= result.keys():
        return result
    rest = {key: value for key, value in result.items() if key not in ("labels", "scores")}
    pairs = itertools.zip_longest(result["labels"], result["scores"])
    return rest | {"labels and scores": [{"label": label, "score": score} for label, score in pairs]}


def _without_tied_order(expected: list[Any], got: list[Any]) -> list[Any]:
    """Put the choices of `got` in the order of `expected` where only the order of equal scores differs.

    Of choices that tie for the last place, either may be there.
    """
    wanted, found = _by_choice(expected), _by_choice(got)
    if wanted is None or found is None or list(wanted) == list(found):
        return got
    ranks = zip(wanted.values(), found.values(), strict=True)
    if any(abs(one["score"] - other["score"]) > ABSOLUTE for one, other in ranks):
        return got  # not a tie: another order, or other scores
    cut = expected[-1]["score"] + ABSOLUTE
    missing = [entry for choice, entry in wanted.items() if choice not in found]
    if expected[0] in missing or any(entry["score"] > cut for entry in missing):
        return got
    return [found.get(choice, entry) for choice, entry in wanted.items()]


def _by_choice(entries: list[Any]) -> dict[Hashable, Mapping[str, Any]] | None:
    """The entries of a ranking by what they choose; None where they are none."""
    if not all(isinstance(entry, Mapping) and "score" in entry and _CHOICES & entry.keys() for entry in entries):
        return None
    chosen: dict[Hashable, Mapping[str, Any]] = {
        tuple((key, value) for key, value in entry.items() if key != "score"): entry for entry in entries
    }
    return chosen if len(chosen) == len(entries) else None


@dataclass(frozen=True, slots=True)
class ResultDifference:
    """How far the results for a task's inputs are apart.

    Attributes:
        largest_score: Largest difference of a choice's score, or cosine distance of vectors; None where results have
            neither.
        agreement: Share of decisions with the same best choice, or of vectors that are recognized; None likewise. A
            text is one decision, or each of its masks, or each of its tokens to which either side gives a label.
        first: The first difference in structure, with its input; None if there is none.
        figures: What else was measured: ``mean_score_diff``, or how alike vectors are.
        distances: How far apart the results of each input are; more than 1 where a decision is another.
        agreed: How many decisions of each input are the same, and of how many; of vectors whether it is recognized.
    """

    largest_score: float | None
    agreement: float | None
    first: str | None
    figures: Mapping[str, float] = field(default_factory=dict)
    distances: tuple[float, ...] = ()
    agreed: tuple[tuple[int, int], ...] = ()


def compare_results(
    inputs: Sequence[Any], expected: Sequence[Any], got: Sequence[Any], read_decisions: Callable[[Any], Decisions]
) -> ResultDifference:
    """Compare the results for each input.

    Args:
        inputs: The inputs.
        expected: The reference's results.
        got: The candidate's.
        read_decisions: Reads a result; see :class:`~edgepipe_export.evaluation.tasks.TaskEvaluation`.
    """
    first = None
    scores: list[float] = []
    agreed: list[tuple[int, int]] = []
    distances: list[float] = []
    vectors: list[tuple[Any, Any]] = []
    for item, wanted, found in zip(inputs, expected, got, strict=True):
        states = as_vectors(wanted)
        if states is None:
            difference = structure_difference(wanted, found)
            own_scores, own_agreed = _compare_decisions(read_decisions(wanted), read_decisions(found))
            scores += own_scores
            agreed.append((sum(own_agreed), len(own_agreed)))
            distances.append(max(own_scores, default=0.0) + (not all(own_agreed)))
        else:
            difference = vector_difference(states, found)
            vectors.append((states, as_vectors(found)))
        if difference is not None and first is None:
            first = f"{str(item)[:60]!r}: {difference}"
    if vectors and all(other is not None for _, other in vectors):
        return _compare_vectors(vectors, first)
    worst = float("inf") if any(np.isnan(scores)) else max(scores, default=None)
    figures = {"mean_score_diff": float(np.mean(scores))} if scores else {}
    return ResultDifference(worst, share_agreed(agreed), first, figures, tuple(distances), tuple(agreed))


def share_agreed(agreed: Iterable[tuple[int, int]]) -> float | None:
    """The share of decisions that are the same, of those of each input; None where there are none."""
    same = decisions = 0
    for own_same, own_decisions in agreed:
        same += own_same
        decisions += own_decisions
    return same / decisions if decisions else None


def _compare_decisions(expected: Decisions, got: Decisions) -> tuple[list[float], list[bool]]:
    """The differences of scores, and whether the best choices are the same, of each decision of an input."""
    scores: list[float] = []
    agreed: list[bool] = []
    for key in {**expected, **got}:
        one, another = expected.get(key, {}), got.get(key, {})
        scores += [abs(one[choice] - another[choice]) for choice in one if choice in another]
        agreed.append(best_choice(one) == best_choice(another))
    return scores, agreed


def _compare_vectors(pairs: Sequence[tuple[Any, Any]], first: str | None) -> ResultDifference:
    expected, got = zip(*pairs, strict=True)
    distance, recognized = recognize(expected, got)
    if np.isnan(distance):
        return ResultDifference(float("inf"), float(np.mean(recognized)), first)
    one, other = unit_vectors(expected), unit_vectors(got)
    distances = 1 - (one * other).sum(axis=1)
    agreed = tuple((int(own), 1) for own in recognized)
    figures = compare_embeddings(one, other)
    return ResultDifference(distance, share_agreed(agreed), first, figures, tuple(distances.tolist()), agreed)


def as_vectors(result: Any) -> Vectors | None:
    """A result of feature-extraction, nested lists [1, tokens, hidden], as an array; None for any other result."""
    inner = result
    for _ in range(3):
        if not isinstance(inner, list) or not inner:
            return None
        inner = inner[0]
    return np.array(result, dtype=np.float64) if isinstance(inner, float) else None


def vector_difference(expected: Vectors, got: Any) -> str | None:
    """Where hidden states are apart by more than the tolerances of fp32; None if nowhere."""
    found = as_vectors(got)
    if found is None or found.shape != expected.shape:
        shape = None if found is None else found.shape
        return f"result: an array of shape {shape} instead of {expected.shape}"
    if np.allclose(found, expected, atol=ABSOLUTE, rtol=RELATIVE):
        return None
    worst = np.unravel_index(np.argmax(np.abs(found - expected)), expected.shape)
    where = "".join(f"[{index}]" for index in worst)
    return f"result{where}: {found[worst]} instead of {expected[worst]}"
