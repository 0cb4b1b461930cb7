"""What was measured of a bundle's variants, and the report that it is written into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.bundle import strict_json
from edgepipe.bundle.layout import REPORT_NAME
from edgepipe_export.calibration.dataset import BUILT_IN
from edgepipe_export.evaluation.checks import Check, Disagreement
from edgepipe_export.evaluation.metrics.confusion import Confusion
from edgepipe_export.selection.latency import Latency
from edgepipe_export.selection.request_time import RequestTime

if TYPE_CHECKING:
    from edgepipe_export.calibration.split import Split

REPORT_VERSION = 1

# What a check's row leaves out: it stands elsewhere, or the bound's words say it.
_NOT_WRITTEN = ("worst", "confusion", "stopped", "by_chance")


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What one layer in a recipe's precision costs, all others in fp32.

    Attributes:
        layer: Its name in the graph.
        label: What reports call it.
        size: How many numbers its weight has.
        cost: Root mean square difference of the outputs, relative to their own root mean square.
    """

    layer: str
    label: str
    size: int
    cost: float


@dataclass(frozen=True, slots=True)
class VariantMeasurements:
    """What was measured of one variant.

    Attributes:
        checks: How it compares with its reference.
        sensitivities: Those of its layers, where a repair measured them; the most costly first.
        time: Where the time of a request goes; None where that was not measured.
        precisions: The layers that a repair gave another precision than the variant's, by name.
        precision_times: How long an input takes with all products in the variant's own precision, and in each of those
            that a repair chose from; empty where it did not weigh time.
    """

    checks: tuple[Check, ...]
    sensitivities: tuple[Sensitivity, ...] = field(default=())
    time: RequestTime | None = None
    precisions: Mapping[str, str] = field(default_factory=dict)
    precision_times: Mapping[str, Latency] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def compared(self) -> int:
        """How many inputs a quantized variant was measured on."""
        return self.checks[-1].compared

    @property
    def figures(self) -> dict[str, float]:
        """What the checks measured beside differences, by name."""
        return {name: value for check in self.checks for name, value in check.figures.items()}

    @property
    def stopped(self) -> bool:
        """Whether the time was over before the inputs decided."""
        return any(check.stopped for check in self.checks)

    @property
    def by_chance(self) -> Check | None:
        """The check whose bound is held only because the inputs do not tell the loss from none; None where none is."""
        return next((check for check in self.checks if check.by_chance), None)

    @property
    def worst(self) -> tuple[Disagreement, ...]:
        """The inputs whose results are farthest from the reference's."""
        return tuple(entry for check in self.checks for entry in check.worst)

    @property
    def confusion(self) -> Confusion | None:
        """What each decision of the reference became; None where no check compares decisions. One does at most."""
        return next((check.confusion for check in reversed(self.checks) if check.confusion is not None), None)


def write_report(
    folder: Path,
    data: Split,
    variants: Mapping[str, VariantMeasurements],
    extra: Mapping[str, Any],
    *,
    keep_texts: bool = False,
) -> None:
    """Write what does not fit into a manifest: every check, what was decided otherwise, and where time goes.

    Texts of the user's data stay out unless they are asked for: a bundle is passed on. The number of an input among
    the data stands in their place.

    Args:
        folder: The bundle.
        data: What recipes were calibrated with, and variants measured on.
        variants: What was measured of each.
        extra: What else goes in.
        keep_texts: Whether texts of the user's data go in; built-in texts always do.
    """
    inputs = None if keep_texts or data.data.origin == BUILT_IN else data.data.inputs
    record: dict[str, Any] = {
        "schema_version": REPORT_VERSION,
        "calibration": {
            "origin": data.measured.origin,
            "inputs": len(data.measured.inputs),
            "gold": data.measured.gold is not None,
            "calibrated": len(data.calibrated.inputs),
            "seen": data.seen,
        },
        "variants": {dtype: _variant(measured, inputs) for dtype, measured in variants.items()},
        **extra,
    }
    (folder / REPORT_NAME).write_text(strict_json.dumps(record) + "\n", encoding="utf-8")


def _variant(measured: VariantMeasurements, withheld: Sequence[Any] | None) -> dict[str, Any]:
    """What was measured of a variant, without the texts of the data `withheld`."""
    checks = [
        {key: value for key, value in asdict(check).items() if key not in _NOT_WRITTEN}
        | ({} if withheld is None else {"detail": None})
        for check in measured.checks
    ]
    worst, confusion = measured.worst, measured.confusion
    if withheld is not None:
        worst = tuple(_without_text(entry, withheld) for entry in worst)
        confusion = None if confusion is None else _without_texts(confusion, withheld)
    record: dict[str, Any] = {"checks": checks, "worst": [asdict(entry) for entry in worst]}
    if confusion is not None:
        record["confusion"] = asdict(confusion)
    if measured.time is not None:
        record["time"] = asdict(measured.time)
    if measured.sensitivities:
        record["sensitivities"] = [asdict(entry) for entry in measured.sensitivities]
        record["precisions"] = dict(measured.precisions)  # the manifest has them only if the variant is written
    if measured.precision_times:
        record["precision_times"] = {name: asdict(latency) for name, latency in measured.precision_times.items()}
    return record


def _without_text(entry: Disagreement, inputs: Sequence[Any]) -> Disagreement:
    reference, candidate = (each if _has_only_labels(each) else None for each in (entry.reference, entry.candidate))
    return Disagreement(_number(entry.input, inputs), reference, candidate, entry.difference)


def _without_texts(confusion: Confusion, inputs: Sequence[Any]) -> Confusion:
    """Without texts of inputs and of what was found in them: a choice that is no label is a piece of text."""
    if not confusion.counts:
        return replace(confusion, examples=())
    examples = (replace(entry, input=_number(entry.input, inputs), place="") for entry in confusion.examples)
    return replace(confusion, examples=tuple(examples))


def _number(item: Any, inputs: Sequence[Any]) -> dict[str, int]:
    """Which of the data an input is, counted from 1."""
    return {"number": inputs.index(item) + 1} if item in inputs else {}


def _has_only_labels(result: Any) -> bool:
    entries = result if isinstance(result, list) else [result]
    return all(isinstance(entry, Mapping) and entry.keys() == {"label", "score"} for entry in entries)
