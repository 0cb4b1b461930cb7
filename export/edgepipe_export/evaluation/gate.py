"""The gate: what decides whether a quantized variant keeps enough of the quality to be written.

Where the right answers are known, the task's metric decides. Where they are not, the share of equal decisions does,
for embeddings also how alike they are, and for what generates its perplexity.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe_export.evaluation.checks import Check, Disagreement, describe_options, rank_worst
from edgepipe_export.evaluation.differences import (
    ResultDifference,
    as_vectors,
    compare_results,
    compare_tensors,
    share_agreed,
)
from edgepipe_export.evaluation.metrics.confusion import compare_choices
from edgepipe_export.evaluation.metrics.intervals import Interval, Loss, is_decided, plan_looks
from edgepipe_export.evaluation.metrics.kl_divergence import MeanDivergence
from edgepipe_export.evaluation.tasks import Metric, find_evaluation
from edgepipe_export.evaluation.tolerances import ROUNDING, Tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe_export.calibration.dataset import Dataset
    from edgepipe_export.evaluation.predictors import Predictor

    Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a figure decides.

    Attributes:
        bound: The bound in words.
        holds: Whether it holds.
        by_chance: Whether it holds only because the inputs do not tell the loss from none.
    """

    bound: str
    holds: bool
    by_chance: bool = False


def decide_by_metric(name: str, drop: float, interval: Interval, tolerance: Tolerance) -> Verdict:
    """By how many points of a hundred the metric is below the reference's.

    A drop that may as well be none, by the inputs, is small enough; but not where none at all is allowed.

    Args:
        name: The metric.
        drop: The points.
        interval: Where they lie, by the inputs.
        tolerance: What they may be.
    """
    bound = f"{name} at most {tolerance.metric:g} points below the reference's"
    if drop <= tolerance.metric + ROUNDING:
        return Verdict(bound, holds=True)
    by_chance = tolerance.metric > 0 and interval.low <= 0
    return Verdict(f"{bound}, or no more than chance explains" if by_chance else bound, by_chance, by_chance)


def decide_by_perplexity(rise: float, tolerance: Tolerance) -> Verdict:
    """By how many percent perplexity is above the reference's: it takes every token into account, and has no chance."""
    holds = bool(rise <= tolerance.perplexity)
    return Verdict(f"perplexity at most {tolerance.perplexity:g} % above the reference's", holds)


def decide_by_agreement(found: ResultDifference, tolerance: Tolerance) -> Verdict:
    """By the share of decisions that are the same, or by how alike vectors are."""
    least = 100 - tolerance.agreement
    holds = found.agreement is None or 100 * found.agreement >= least - ROUNDING
    cosine = found.figures.get("cosine_mean")
    if cosine is None:
        return Verdict(f"label agreement of at least {least:g} %", holds)
    bound = f"mean cosine of at least {least / 100:g}, and {least:g} % of the texts recognized"
    return Verdict(bound, holds and 100 * cosine >= least - ROUNDING)


def check_quantized(
    candidate: Predictor,
    reference: Predictor,
    task: str,
    data: Dataset,
    encodings: Sequence[Arrays],
    tolerance: Tolerance,
    deadline: float | None = None,
) -> list[Check]:
    """Compare a quantized variant with a reference: its tensors, then its results.

    Args:
        candidate: The variant.
        reference: What it is compared with.
        task: Name of the task.
        data: The inputs, and the right answers where they are known.
        encodings: Padded batches of some of them, int64[batch, length] arrays.
        tolerance: What it may lose.
        deadline: When to stop, by :func:`time.monotonic`; and before, as soon as the inputs so far decide. None to go
            through all inputs. The first look is taken in any case.
    """
    return [
        _check_tensors(candidate, reference, encodings),
        _check_results(candidate, reference, task, data, tolerance, deadline),
    ]


def _check_tensors(candidate: Predictor, reference: Predictor, encodings: Sequence[Arrays]) -> Check:
    divergence = MeanDivergence()

    def pairs() -> Iterator[tuple[Arrays, Arrays]]:
        for encoding in encodings:
            both = reference.tensors(encoding), candidate.tensors(encoding)
            divergence.add(*both, encoding.get("attention_mask"))
            yield both

    found = compare_tensors(pairs())
    return Check(
        "tensors, texts",
        candidate.name,
        reference.name,
        len(encodings),
        found.largest,
        agreement=None,
        bound="finite",
        passed=found.finite,
        figures={} if divergence.mean is None else {"kl": divergence.mean},
    )


def _check_results(
    candidate: Predictor,
    reference: Predictor,
    task: str,
    data: Dataset,
    tolerance: Tolerance,
    deadline: float | None,
) -> Check:
    own = find_evaluation(task)
    metric = None if data.gold is None else own.metric
    options = {**own.options[-1], **data.options}
    units = len(data.inputs) // data.group_size
    expected: list[Any] = []
    got: list[Any] = []
    decided = False
    for look in plan_looks(units, deadline=deadline):
        inputs = data.inputs[len(got) : look * data.group_size]
        expected += reference.results(inputs, options)
        got += candidate.results(inputs, options)
        measured = data.select(range(len(got)))
        found = compare_results(measured.inputs, expected, got, own.read_decisions)
        if metric is None:
            losses = _list_losses(found, tolerance)
        else:
            losses = [_measure_drop(metric, measured, expected, got, tolerance)]
        if decided := look < units and is_decided(losses):
            break
    finite = found.largest_score is None or bool(np.isfinite(found.largest_score))
    figures = dict(found.figures)
    if metric is None or not finite:
        verdict = decide_by_agreement(found, tolerance)
    else:
        values, others = (metric.compute(results, measured.gold or ()) for results in (got, expected))
        figures |= {**values, **{f"reference_{name}": value for name, value in others.items()}}
        name, interval = metric.name, losses[0].estimate()
        figures |= {"drop_low": interval.low, "drop_high": interval.high}
        verdict = decide_by_metric(name, 100 * (others[name] - values[name]), interval, tolerance)
    return Check(
        describe_options(own.options[-1]),
        candidate.name,
        reference.name,
        len(measured.inputs),
        {} if found.largest_score is None else {"score": found.largest_score},
        found.agreement,
        verdict.bound,
        passed=finite and verdict.holds,
        figures=figures,
        worst=_worst(measured.inputs, expected, got, found.distances),
        confusion=compare_choices(measured.inputs, expected, got, measured.gold, own.read_decisions, own.names),
        stopped=not decided and len(got) < len(data.inputs),
        by_chance=finite and verdict.by_chance,
    )


def _measure_drop(
    metric: Metric, data: Dataset, expected: Sequence[Any], got: Sequence[Any], tolerance: Tolerance
) -> Loss:
    """How many points the metric drops; the data have the right answers."""
    gold, size = data.gold or (), data.group_size
    results = [[_pool(result) for result in side] for side in (expected, got)]

    def compute(units: Sequence[int]) -> float:
        chosen = [unit * size + place for unit in units for place in range(size)]
        answers = [gold[index] for index in chosen]
        before, after = (metric.compute([side[index] for index in chosen], answers)[metric.name] for side in results)
        return 100 * (before - after)

    return Loss(compute, len(data.inputs) // size, tolerance.metric)


def _pool(result: Any) -> Any:
    """Hidden states by their mean, which is all that a metric reads of them; any other result as it is."""
    states = as_vectors(result)
    return result if states is None else states.mean(axis=(0, 1), keepdims=True)


def _list_losses(found: ResultDifference, tolerance: Tolerance) -> list[Loss]:
    """The share of decisions that are others; of embeddings also how far their mean cosine is from 1."""

    def count_changed(places: Sequence[int]) -> float:
        share = share_agreed(found.agreed[place] for place in places)
        return 0.0 if share is None else 100 * (1 - share)

    def average_distance(places: Sequence[int]) -> float:
        return 100 * sum(found.distances[place] for place in places) / max(len(places), 1)

    losses = [Loss(count_changed, len(found.agreed), tolerance.agreement)]
    if "cosine_mean" in found.figures:
        losses.append(Loss(average_distance, len(found.distances), tolerance.agreement, step=0.0))
    return losses


def _worst(
    inputs: Sequence[Any], expected: Sequence[Any], got: Sequence[Any], distances: Sequence[float]
) -> tuple[Disagreement, ...]:
    """The inputs whose results are farthest apart; vectors are not kept, nobody reads them."""
    return tuple(
        Disagreement(_plain(inputs[index]), _plain(expected[index]), _plain(got[index]), float(distances[index]))
        for index in rank_worst(distances)
    )


def _plain(value: Any) -> Any:
    """A result without what JSON cannot hold; None for hidden states."""
    if isinstance(value, list) and value and isinstance(value[0], list) and value[0] and isinstance(value[0][0], list):
        return None
    return json.loads(json.dumps(value, default=lambda number: number.tolist()))
