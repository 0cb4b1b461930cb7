"""The gate: what decides whether a quantized variant keeps enough of the quality to be written.

Where the right answers are known, the task's metric decides. Where they are not, the share of equal decisions does,
for embeddings also how alike they are, and for what generates its perplexity.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe_export.evaluation.checks import Check, Disagreement, describe_options, rank_worst
from edgepipe_export.evaluation.differences import ResultDifference, compare_results, compare_tensors
from edgepipe_export.evaluation.metrics.confusion import compare_choices
from edgepipe_export.evaluation.metrics.kl_divergence import MeanDivergence
from edgepipe_export.evaluation.tasks import find_evaluation
from edgepipe_export.evaluation.tolerances import ROUNDING, Tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe_export.calibration.dataset import Dataset
    from edgepipe_export.evaluation.predictors import Predictor

    Arrays = Mapping[str, NDArray[Any]]


def decide_by_metric(name: str, candidate: float, reference: float, tolerance: Tolerance) -> tuple[str, bool]:
    """The bound in words, and whether it holds; `candidate` and `reference` are the metric's values, from 0 to 1."""
    drop = 100 * (reference - candidate)
    return f"{name} at most {tolerance.metric:g} points below the reference's", drop <= tolerance.metric + ROUNDING


def decide_by_agreement(found: ResultDifference, tolerance: Tolerance) -> tuple[str, bool]:
    """The bound in words, and whether it holds."""
    least = 100 - tolerance.agreement
    holds = found.agreement is None or 100 * found.agreement >= least - ROUNDING
    cosine = found.figures.get("cosine_mean")
    if cosine is None:
        return f"label agreement of at least {least:g} %", holds
    bound = f"mean cosine of at least {least / 100:g}, and {least:g} % of the texts recognized"
    return bound, holds and 100 * cosine >= least - ROUNDING


def decide_by_perplexity(candidate: float, reference: float, tolerance: Tolerance) -> tuple[str, bool]:
    """The bound in words, and whether it holds."""
    bound = f"perplexity at most {tolerance.perplexity:g} % above the reference's"
    return bound, bool(candidate <= reference * (1 + tolerance.perplexity / 100))


def check_quantized(
    candidate: Predictor,
    reference: Predictor,
    task: str,
    data: Dataset,
    encodings: Sequence[Arrays],
    tolerance: Tolerance,
) -> list[Check]:
    """Compare a quantized variant with a reference: its tensors, then its results.

    Args:
        candidate: The variant.
        reference: What it is compared with.
        task: Name of the task.
        data: The inputs, and the right answers where they are known.
        encodings: Padded batches of some of them, int64[batch, length] arrays.
        tolerance: What it may lose.
    """
    return [
        _check_tensors(candidate, reference, encodings),
        _check_results(candidate, reference, task, data, tolerance),
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


def _check_results(candidate: Predictor, reference: Predictor, task: str, data: Dataset, tolerance: Tolerance) -> Check:
    own = find_evaluation(task)
    options = {**own.options[-1], **data.options}
    expected, got = reference.results(data.inputs, options), candidate.results(data.inputs, options)
    found = compare_results(data.inputs, expected, got, own.read_decisions)
    finite = found.largest_score is None or bool(np.isfinite(found.largest_score))
    figures = dict(found.figures)
    if data.gold is None or own.metric is None or not finite:
        bound, holds = decide_by_agreement(found, tolerance)
    else:
        values, others = (own.metric.compute(results, data.gold) for results in (got, expected))
        figures |= {**values, **{f"reference_{name}": value for name, value in others.items()}}
        name = own.metric.name
        bound, holds = decide_by_metric(name, values[name], others[name], tolerance)
    return Check(
        describe_options(own.options[-1]),
        candidate.name,
        reference.name,
        len(data.inputs),
        {} if found.largest_score is None else {"score": found.largest_score},
        found.agreement,
        bound,
        passed=finite and holds,
        figures=figures,
        worst=_worst(data.inputs, expected, got, found.distances),
        confusion=compare_choices(data.inputs, expected, got, data.gold, own.read_decisions, own.names),
    )


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
