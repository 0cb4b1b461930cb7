"""What was measured of a bundle's variants, and the report that it is written into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.bundle import strict_json
from edgepipe.bundle.layout import REPORT_NAME
from edgepipe_export.evaluation.checks import Check

if TYPE_CHECKING:
    from edgepipe_export.calibration.split import Split

REPORT_VERSION = 1


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
    """

    checks: tuple[Check, ...]
    sensitivities: tuple[Sensitivity, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


def write_report(
    folder: Path,
    data: Split,
    variants: Mapping[str, VariantMeasurements],
    extra: Mapping[str, Any],
) -> None:
    """Write what does not fit into a manifest: every check, the largest disagreements, and each layer's cost.

    Args:
        folder: The bundle.
        data: What recipes were calibrated with, and variants measured on.
        variants: What was measured of each.
        extra: What else goes in.
    """
    record: dict[str, Any] = {
        "schema_version": REPORT_VERSION,
        "calibration": {
            "origin": data.measured.origin,
            "inputs": len(data.measured.inputs),
            "gold": data.measured.gold is not None,
            "calibrated": len(data.calibrated.inputs),
            "seen": data.seen,
        },
        "variants": {dtype: _variant(measured) for dtype, measured in variants.items()},
        **extra,
    }
    (folder / REPORT_NAME).write_text(strict_json.dumps(record) + "\n", encoding="utf-8")


def _variant(measured: VariantMeasurements) -> dict[str, Any]:
    checks = [{key: value for key, value in asdict(check).items() if key != "worst"} for check in measured.checks]
    record: dict[str, Any] = {"checks": checks, "worst": _worst(measured.checks)}
    if measured.sensitivities:
        record["sensitivities"] = [asdict(entry) for entry in measured.sensitivities]
    return record


def _worst(checks: Sequence[Check]) -> list[dict[str, Any]]:
    return [asdict(disagreement) for check in checks for disagreement in check.worst]
