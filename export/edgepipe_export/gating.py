"""Measure the variants of a bundle that is being made, and keep those that miss their bound from being written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgepipe.errors import ParityError
from edgepipe_export.checks import parity_of
from edgepipe_export.comparing import PYTORCH, make_comparison
from edgepipe_export.measurements import Measured, write_report
from edgepipe_export.quantize import FP32

if TYPE_CHECKING:
    from edgepipe_export.calibration import Calibration
    from edgepipe_export.load import Loaded
    from edgepipe_export.tolerance import Tolerance
    from edgepipe_export.variants import Workshop


class Gate:
    """The comparisons of one export.

    Attributes:
        measured: What was measured so far, by dtype.
    """

    def __init__(self, workshop: Workshop, loaded: Loaded, calibration: Calibration | None, allowed: Tolerance) -> None:
        self._workshop = workshop
        self._calibration = calibration
        self._allowed = allowed
        self._comparison = make_comparison(workshop.bundle, loaded, loaded.checkpoint.task, calibration=calibration)
        self.measured: dict[str, Measured] = {}

    def measure(self) -> None:
        """Compare every variant that is there: fp32 with PyTorch, the others with fp32."""
        for dtype in self._workshop.manifest.variants:
            self.measured[dtype] = self.check(dtype)

    def check(self, dtype: str) -> Measured:
        """Compare one variant as it is now."""
        reference = PYTORCH if dtype == FP32 else FP32
        bundle = None if dtype == FP32 else self._workshop.bundle
        return Measured(tuple(self._comparison.check(dtype, reference, self._allowed, bundle)))

    def record(self, *, force: bool) -> None:
        """Put what was measured into the manifest and the report.

        Raises:
            ParityError: a variant misses its bound, and that is not forced.
        """
        failed = [str(row) for found in self.measured.values() for row in found.checks if not row.passed]
        if failed and not force:
            raise ParityError(
                f"the export misses its bound, and nothing was written: {' | '.join(failed)}; force=True (--force) "
                "writes it all the same, and the manifest will say so"
            )
        manifest = self._workshop.manifest
        parities = {dtype: parity_of(found.checks, self._inputs(dtype)) for dtype, found in self.measured.items()}
        variants = {dtype: replace(variant, parity=parities[dtype]) for dtype, variant in manifest.variants.items()}
        self._workshop.record(replace(manifest, variants=variants))
        write_report(self._workshop.folder, self._calibration, self._comparison.measured, self.measured, {})

    def _inputs(self, dtype: str) -> int:
        return len(self._comparison.texts) if dtype == FP32 else self._comparison.measured
