"""Measure the variants of a bundle that is being made, and keep those that miss their bound from being written."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from edgepipe.errors import ParityError
from edgepipe_export.evaluation.comparison import PYTORCH, make_comparison
from edgepipe_export.evaluation.parity import parity_of, read_check
from edgepipe_export.output.fingerprint import reference_digest
from edgepipe_export.output.measurements import Measured, Sensitivity, write_report
from edgepipe_export.output.progress import Steps
from edgepipe_export.quantization.quantize import load_recipe
from edgepipe_export.quantization.recipe import FP32
from edgepipe_export.selection.choose import Candidate, choose, table_of, undecided
from edgepipe_export.selection.latency import Latency, is_noisy, measure
from edgepipe_export.selection.mixed_precision import Repair, repair

if TYPE_CHECKING:
    from edgepipe import Bundle
    from edgepipe_export.calibration.split import Split
    from edgepipe_export.checkpoint.load import Loaded
    from edgepipe_export.evaluation.tolerance import Tolerance
    from edgepipe_export.output.workspace import Workshop


class Gate:
    """The comparisons of one export.

    Attributes:
        measured: What was measured so far, by dtype.
    """

    def __init__(self, workshop: Workshop, loaded: Loaded, data: Split, allowed: Tolerance) -> None:
        self._workshop = workshop
        self._loaded = loaded
        self._data = data
        self._known = {"measured": data.measured.digest}
        self._allowed = allowed
        self._steps = Steps()
        self._comparison = make_comparison(
            workshop.bundle, loaded, loaded.checkpoint.task, data=data, steps=self._steps
        )
        self.measured: dict[str, Measured] = {}
        self._repairs: dict[str, str] = {}
        self._more: dict[str, Any] = {}

    def measure(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Compare every variant that is there: fp32 with PyTorch, the others with fp32.

        Args:
            progress: Told how many steps of how many are done.
        """
        steps = {dtype: self._comparison.steps(dtype) for dtype in self._workshop.manifest.variants}
        done = 0
        with self._steps.told(progress, sum(steps.values())):
            for dtype in steps:
                self.measured[dtype] = self.check(dtype)
                done += steps[dtype]
                self._steps.reach(done)  # all at once where it was kept

    @property
    def repairable(self) -> tuple[str, ...]:
        """The quantized variants that miss their bound, and whose layers can have other precisions.

        None where fp32 is not what PyTorch gives: nothing is written then.
        """
        if not self.measured[FP32].passed:
            return ()
        return tuple(
            dtype
            for dtype, found in self.measured.items()
            if dtype != FP32 and not found.passed and load_recipe(dtype).mixes
        )

    def repair(
        self, dtype: str, budget: float, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> bool:
        """Raise the precision of a variant's most costly layers until it passes; measure what that gives.

        Args:
            dtype: The variant.
            budget: Seconds it may take.
            progress: Told how many layers of how many were measured.

        Returns:
            Whether it passes now.
        """
        bench = _Bench(self, self._workshop, dtype)
        found = repair(bench, budget, progress=progress)
        note = {"attempts": found.attempts, "layers_measured": len(found.costs), "complete": found.complete}
        self._workshop.make(dtype, found.precisions, note={"repair": note})
        layers = self._workshop.layers(dtype)
        sensitivities = tuple(
            Sensitivity(name, layers[name].label, layers[name].size, cost) for name, cost in found.costs.items()
        )
        checks = self.measured[dtype].checks if found.precisions is None else self.check(dtype).checks
        self.measured[dtype] = Measured(checks, sensitivities)
        self._repairs[dtype] = _in_words(found, len(layers), budget)
        return self.measured[dtype].passed

    def choose(self, prefer: str, progress: Callable[[int, int], None] = lambda done, total: None) -> str:
        """Measure size, latency and distance of all variants, and keep the best of those that passed.

        The table of all goes into the manifest. Those that did not pass are forgotten: nobody asked for them by name.

        Args:
            prefer: See :func:`~edgepipe_export.selection.choose.choose`.
            progress: Told how many rounds of how many were measured.

        Returns:
            The dtype of the best.

        Raises:
            ParityError: not even fp32 passes.
        """
        if not self.measured[FP32].passed:
            self.record(force=False)
        latencies = self._latencies(progress)
        candidates = [
            Candidate(
                dtype,
                self._workshop.manifest.variants[dtype].bytes,
                latency.median_ms,
                latency.spread,
                0.0 if dtype == FP32 else self.distance(dtype),
                self.measured[dtype].passed,
                {name: value for check in self.measured[dtype].checks for name, value in check.figures.items()},
            )
            for dtype, latency in ((dtype, latencies[dtype]) for dtype in self.measured)
        ]
        chosen = choose(candidates, prefer)
        self._more["noise"] = {
            "spread": max(entry.latency_spread for entry in candidates),
            "noisy": is_noisy(latencies),
            "undecided": list(undecided(candidates, prefer)),
        }
        failed = [dtype for dtype, found in self.measured.items() if not found.passed]
        self._workshop.discard(failed)
        self.measured = {dtype: found for dtype, found in self.measured.items() if dtype not in failed}
        self._workshop.record(replace(self._workshop.manifest, candidates=table_of(candidates, chosen)))
        return chosen.dtype

    def check(self, dtype: str, precisions: Mapping[str, str] | None = None) -> Measured:
        """Compare one variant with its reference: as it is now, or with these precisions."""
        if dtype == FP32:
            reference = reference_digest(self._loaded)
            if reference is None:
                return self._proof()
            known = {"what": "proof", "reference": reference}
            return self._workshop.kept.value(known, self._proof, plain=_plain, read=_read)

        def check() -> Measured:
            found = self._comparison.check(dtype, FP32, self._allowed, self._with(dtype, precisions))
            return Measured(tuple(found))

        key = {"what": "checks", "allowed": asdict(self._allowed), **self._key(dtype, precisions)}
        return self._workshop.kept.value(key, check, plain=_plain, read=_read)

    def _proof(self) -> Measured:
        return Measured(tuple(self._comparison.check(FP32, PYTORCH, self._allowed)))

    def distance(self, dtype: str, precisions: Mapping[str, str] | None = None) -> float:
        """How far a variant is from fp32: as it is now, or with these precisions."""
        return self._far("distance", self._comparison.distance, dtype, precisions)

    def cost(self, dtype: str, precisions: Mapping[str, str]) -> float:
        """The same on what recipes are calibrated with."""
        return self._far("cost", self._comparison.cost, dtype, precisions)

    def _far(
        self, what: str, measured: Callable[[str, Bundle], float], dtype: str, precisions: Mapping[str, str] | None
    ) -> float:
        key = {"what": what, **self._key(dtype, precisions)}
        return self._workshop.kept.value(
            key, lambda: measured(dtype, self._with(dtype, precisions)), plain=float, read=float
        )

    def _key(self, dtype: str, precisions: Mapping[str, str] | None = None) -> dict[str, Any]:
        return {**self._known, **self._workshop.key(dtype, precisions)}

    def _with(self, dtype: str, precisions: Mapping[str, str] | None) -> Bundle:
        if precisions is not None:
            self._workshop.require(dtype, precisions)
        return self._workshop.bundle

    @property
    def undecided(self) -> Sequence[str]:
        """The candidates between which the machine was too noisy to choose."""
        return tuple(self._more["noise"]["undecided"]) if "noise" in self._more else ()

    def _latencies(self, progress: Callable[[int, int], None]) -> Mapping[str, Latency]:
        """What was measured with all of them in turn; alone, or on another machine, it would say something else."""
        bundle = self._workshop.bundle
        quantized = sorted(dtype for dtype in self.measured if dtype != FP32)
        return self._workshop.kept.value(
            {"what": "latencies", "host": platform.node(), "variants": list(map(self._key, quantized))},
            lambda: measure(
                {dtype: self._comparison.timed(dtype, bundle) for dtype in self.measured}, progress=progress
            ),
            plain=lambda found: {dtype: asdict(latency) for dtype, latency in found.items()},
            read=lambda record: {dtype: Latency(**record[dtype]) for dtype in self.measured},
            lasting=lambda found: not is_noisy(found),
        )

    def record(self, *, force: bool) -> None:
        """Put what was measured into the manifest and the report.

        Raises:
            ParityError: a variant misses its bound, and that is not forced.
        """
        failed = [
            f"{row}{self._repairs.get(dtype, '')}"
            for dtype, found in self.measured.items()
            for row in found.checks
            if not row.passed
        ]
        if failed and not force:
            raise ParityError(
                f"the export misses its bound, and nothing was written: {' | '.join(failed)}; force=True (--force) "
                "writes it all the same, and the manifest will say so"
            )
        manifest = self._workshop.manifest
        parities = {
            dtype: parity_of(found.checks, self._inputs(dtype), self._seen(dtype))
            for dtype, found in self.measured.items()
        }
        variants = {dtype: replace(variant, parity=parities[dtype]) for dtype, variant in manifest.variants.items()}
        self._workshop.record(replace(manifest, variants=variants))
        write_report(self._workshop.folder, self._data, self.measured, self._more)

    def _inputs(self, dtype: str) -> int:
        return len(self._comparison.texts) if dtype == FP32 else self._comparison.measured

    def _seen(self, dtype: str) -> int:
        return self._data.seen if self._workshop.calibrates(dtype) else 0


class _Bench:
    """Mixed variants in the workshop, measured by the gate: see
    :class:`~edgepipe_export.selection.mixed_precision.Bench`."""

    def __init__(self, gate: Gate, workshop: Workshop, dtype: str) -> None:
        self._gate = gate
        self._workshop = workshop
        self._dtype = dtype
        layers = workshop.layers(dtype)
        self.layers: Sequence[str] = tuple(layers)
        self.weightless: Collection[str] = frozenset(name for name, layer in layers.items() if layer.operators)
        self.ladder: Sequence[str] = load_recipe(dtype).mixes

    def cost(self, layer: str) -> float:
        return self._gate.cost(self._dtype, {other: FP32 for other in self.layers if other != layer})

    def passes(self, precisions: Mapping[str, str]) -> bool:
        return self._gate.check(self._dtype, precisions).passed


def _plain(found: Measured) -> list[dict[str, Any]]:
    return [asdict(check) for check in found.checks]


def _read(record: Any) -> Measured:
    return Measured(tuple(read_check(entry) for entry in record))


def _in_words(found: Repair, layers: int, budget: float) -> str:
    tried = f"{found.attempts} mixed graphs were tried, {len(found.costs)} of {layers} layers measured"
    if found.complete:
        return f"; a repair did not help: {tried}"
    return f"; the repair's budget of {budget:.0f} s was too short: {tried}; give it more (budget=, --budget)"
