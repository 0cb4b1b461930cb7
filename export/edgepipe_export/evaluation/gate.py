"""The gate: a quantized variant beside its reference on data, and whether it keeps enough of the quality to be written.

Where the right answers are known, the task's own figure (:mod:`edgepipe_export.evaluation.metrics.task_metrics`)
decides; where they are not,
how often the two decide alike, and for embeddings how alike they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe_export.evaluation.differences import ResultDifference, compare_results, compare_tensors
from edgepipe_export.evaluation.metrics.kl_divergence import Divergence
from edgepipe_export.evaluation.metrics.task_metrics import quality_of
from edgepipe_export.evaluation.parity import Check, Disagreement, named
from edgepipe_export.evaluation.task_inputs import questions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe_export.calibration.dataset import Calibration
    from edgepipe_export.evaluation.predictors import Side
    from edgepipe_export.evaluation.tolerance import Tolerance

    Arrays = Mapping[str, NDArray[Any]]

# Differences that shrink to nothing in floating point decide nothing.
_ROUNDING = 1e-9

_WORST = 10


def check_quantized(
    candidate: Side,
    reference: Side,
    task: str,
    calibration: Calibration,
    encodings: Sequence[Arrays],
    allowed: Tolerance,
) -> list[Check]:
    """Compare a quantized variant with a reference: its tensors, then its results.

    Args:
        candidate: The variant.
        reference: What it is compared with.
        task: Name of the task.
        calibration: The inputs, and the right answers where they are known.
        encodings: Padded batches of some of them, int64[batch, length] arrays.
        allowed: What it may lose.
    """
    return [
        _check_tensors(candidate, reference, encodings),
        _check_results(candidate, reference, task, calibration, allowed),
    ]


def _check_tensors(candidate: Side, reference: Side, encodings: Sequence[Arrays]) -> Check:
    divergence = Divergence()

    def pairs() -> Iterator[tuple[Arrays, Arrays]]:
        for encoding in encodings:
            both = reference.tensors(encoding), candidate.tensors(encoding)
            divergence.add(*both, encoding.get("attention_mask"))
            yield both

    found = compare_tensors(pairs())
    figures = {} if divergence.mean is None else {"kl": divergence.mean}
    return Check(
        "tensors, texts",
        candidate.name,
        reference.name,
        len(encodings),
        found.largest,
        None,
        "finite",
        found.finite,
        None,
        figures,
    )


def _check_results(candidate: Side, reference: Side, task: str, calibration: Calibration, allowed: Tolerance) -> Check:
    own = questions(task)
    options = {**own.options[-1], **calibration.options}
    inputs = calibration.inputs
    expected, got = reference.results(inputs, options), candidate.results(inputs, options)
    found = compare_results(inputs, expected, got, own.decisions)
    finite = found.largest_score is None or bool(np.isfinite(found.largest_score))
    figures = dict(found.figures)
    quality = quality_of(task)
    if calibration.gold is None or quality is None or not finite:
        bound, kept = _agreement_bound(found, allowed)
    else:
        own_figures, others = (quality.measure(results, calibration.gold) for results in (got, expected))
        figures |= {**own_figures, **{f"reference_{name}": value for name, value in others.items()}}
        drop = 100 * (others[quality.own] - own_figures[quality.own])
        bound = f"{quality.own} at most {allowed.figure:g} points below the reference's"
        kept = drop <= allowed.figure + _ROUNDING
    return Check(
        named(own.options[-1]),
        candidate.name,
        reference.name,
        len(inputs),
        {} if found.largest_score is None else {"score": found.largest_score},
        found.agreement,
        bound,
        finite and kept,
        None,
        figures,
        _worst(inputs, expected, got, found.distances),
    )


def _agreement_bound(found: ResultDifference, allowed: Tolerance) -> tuple[str, bool]:
    least = 100 - allowed.agreement
    bound = f"label agreement of at least {least:g} %"
    kept = found.agreement is None or 100 * found.agreement >= least - _ROUNDING
    cosine = found.figures.get("cosine_mean")
    if cosine is not None:
        bound = f"mean cosine of at least {least / 100:g}, and {least:g} % of the texts recognized"
        kept = kept and 100 * cosine >= least - _ROUNDING
    return bound, kept


def _worst(
    inputs: Sequence[Any], expected: Sequence[Any], got: Sequence[Any], distances: Sequence[float]
) -> tuple[Disagreement, ...]:
    """The inputs whose results are farthest apart; vectors are not kept, nobody reads them."""
    ranked = sorted(range(len(distances)), key=lambda index: (-distances[index], index))[:_WORST]
    return tuple(
        Disagreement(_plain(inputs[index]), _plain(expected[index]), _plain(got[index]), float(distances[index]))
        for index in ranked
        if distances[index] > 0
    )


def _plain(value: Any) -> Any:
    """A result without what JSON cannot hold; None for hidden states."""
    if isinstance(value, list) and value and isinstance(value[0], list) and value[0] and isinstance(value[0][0], list):
        return None
    return json.loads(json.dumps(value, default=lambda number: number.tolist()))
