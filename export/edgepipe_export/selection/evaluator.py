"""Measures the variants of a bundle that is being exported, repairs those that miss their bound, and chooses one."""

from __future__ import annotations

import math
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.bundle.layout import GRAPH_FOLDER
from edgepipe.errors import ParityError
from edgepipe_export.evaluation.checks import CACHE_CHECK, PYTORCH, Check, Comparison, read_check, summarize
from edgepipe_export.output.progress import Steps
from edgepipe_export.quantization.quantize import load_recipe
from edgepipe_export.quantization.recipe import FP32
from edgepipe_export.selection.choose import Candidate, choose, tabulate, undecided
from edgepipe_export.selection.latency import Latency, describe_latencies, is_noisy, measure
from edgepipe_export.selection.measurements import Sensitivity, VariantMeasurements, write_report
from edgepipe_export.selection.mixed_precision import Repair, Trials, find_extra_times, find_growth, find_shares, repair
from edgepipe_export.selection.request_time import RequestTime, measure_requests

if TYPE_CHECKING:
    from edgepipe import Bundle
    from edgepipe_export.calibration.split import Split
    from edgepipe_export.evaluation.tolerances import Tolerance
    from edgepipe_export.output.workspace import Workspace

    Report = Callable[[int, int], None]

# How much of a repair's budget may pass before no more rounds of its precisions are added on a noisy machine.
_TIMING = 0.6


def _report_nothing(done: int, total: int) -> None:
    pass


class Evaluator:
    """The measurements of one export.

    Attributes:
        measured: What was measured so far, by dtype.
        undecided: The candidates between which the machine was too noisy to choose.
        inputs_used: On how many inputs each candidate was measured, in words; empty before the choice.
        unfinished: The variants that pass by a repair whose time was over before the fewest layers were found.
        weighed: Of the repairs that weighed time: what precisions take and which layers went up, in words, by dtype.
        left_out: The error about wanted variants that are not written, where others are; None where all are.
    """

    def __init__(
        self,
        workspace: Workspace,
        comparison: Comparison,
        data: Split,
        tolerance: Tolerance,
        *,
        reference: str | None = None,
        steps: Steps | None = None,
        for_report: bool = False,
        device: str | None = None,
    ) -> None:
        """Take over the variants of a workspace.

        Args:
            workspace: Where the variants are, and made with other precisions.
            comparison: Compares them with PyTorch and with each other.
            data: What recipes are calibrated with, and variants measured on.
            tolerance: What a quantized variant may lose.
            reference: A digest of the PyTorch model; None where its comparison must not be cached.
            steps: Counts the steps of the comparison.
            for_report: Whether what only a report shows is written down: texts of the user's data, and the times of
                precisions.
            device: The device that the comparison runs variants on; None for onnxruntime on a processor.
        """
        self._workspace = workspace
        self._comparison = comparison
        self._data = data
        self._tolerance = tolerance
        self._reference = reference
        self._steps = steps or Steps()
        self._for_report = for_report
        self._device = device
        self.measured: dict[str, VariantMeasurements] = {}
        self.undecided: tuple[str, ...] = ()
        self.inputs_used = ""
        self.unfinished: tuple[str, ...] = ()
        self.left_out: ParityError | None = None
        self.weighed: dict[str, tuple[str, str]] = {}
        self._repairs: dict[str, str] = {}
        self._stopped = False
        self._extra: dict[str, Any] = {}

    def measure(self, progress: Report = _report_nothing, *, budget: float | None = None) -> None:
        """Compare every variant that is there: fp32 with PyTorch, the others with fp32.

        Args:
            progress: Called with how many steps of how many are done.
            budget: Seconds that it may take, all variants alike. Each is measured on no more inputs than decide. None
                to measure all on all inputs.
        """
        steps = {dtype: self._comparison.count_steps(dtype) for dtype in self._workspace.manifest.variants}
        done = 0
        end = None if budget is None else time.monotonic() + budget
        with self._steps.report_to(progress, sum(steps.values())):
            for waiting, dtype in zip(range(len(steps), 0, -1), steps, strict=True):
                self.measured[dtype] = self.check(dtype, deadline=None if end is None else _share(end, waiting))
                done += steps[dtype]
                self._steps.reach(done)  # all at once where it was cached

    @property
    def repairable(self) -> tuple[str, ...]:
        """The quantized variants that miss their bound, and whose layers can have other precisions.

        None where fp32 is not what PyTorch gives: nothing is written then; and none that misses it by its cache, which
        other weights do not mend.
        """
        if not self.measured[FP32].passed:
            return ()
        return tuple(
            dtype
            for dtype, found in self.measured.items()
            if dtype != FP32 and not found.passed and load_recipe(dtype).mixes
            if all(check.passed for check in found.checks if check.check == CACHE_CHECK)
        )

    def repair(
        self,
        dtype: str,
        budget: float,
        progress: Report = _report_nothing,
        *,
        on_all_inputs: bool = True,
        weighs_time: bool = False,
    ) -> bool:
        """Raise the precision of a variant's most costly layers until it passes; measure what that gives.

        Args:
            dtype: The variant.
            budget: Seconds it may take.
            progress: Called with how many layers of how many were measured.
            on_all_inputs: Whether each mixed graph is measured on all inputs; or on no more than decide.
            weighs_time: Whether layers go up to the precisions that take the least time on this machine; or to those
                that take the fewest bytes.

        Returns:
            Whether it passes now.
        """
        timed_until = time.monotonic() + _TIMING * budget
        deadline = None if on_all_inputs else time.monotonic() + budget
        tried: dict[frozenset[tuple[str, str]], VariantMeasurements] = {}

        def passes(precisions: Mapping[str, str]) -> bool:
            found = tried[frozenset(precisions.items())] = self.check(dtype, precisions, deadline)
            return found.passed

        layers = self._workspace.layers(dtype)
        shares = find_shares(layers)
        size = self._workspace.manifest.variants[dtype].bytes  # nothing is raised yet
        latencies: dict[str, Latency] = {}

        def time_ladder() -> dict[str, float]:
            latencies.update(self._precision_times(dtype, shares, timed_until))
            return find_extra_times(latencies[dtype], {name: latencies[name] for name in load_recipe(dtype).mixes})

        trials = Trials(
            tuple(layers),
            load_recipe(dtype).mixes,
            frozenset(name for name, layer in layers.items() if layer.operators),
            cost=lambda layer: self._layer_cost(dtype, {other: FP32 for other in layers if other != layer}),
            passes=passes,
            shares=shares,
            growth=find_growth(layers, size),
            measure=time_ladder if weighs_time else None,
        )
        found = repair(trials, budget, progress=progress)
        note = {
            "attempts": found.attempts,
            "layers_measured": len(found.costs),
            "complete": found.complete,
            "weighs_time": found.weighs_time,
        }
        self._workspace.make(dtype, found.precisions, note={"repair": note})
        sensitivities = tuple(
            Sensitivity(name, layers[name].label, layers[name].size, cost) for name, cost in found.costs.items()
        )
        now = self.measured[dtype] if found.precisions is None else tried[frozenset(found.precisions.items())]
        self.measured[dtype] = VariantMeasurements(
            now.checks,
            sensitivities,
            precisions=found.precisions or {},
            # Times are never twice the same, and two bundles are to be: what they chose is in both.
            precision_times=latencies if self._for_report else {},
        )
        if latencies:
            self.weighed[dtype] = (_describe_times(latencies), _count_precisions(found.precisions or {}))
        self._repairs[dtype] = _describe_repair(found, len(layers), budget)
        passed = self.measured[dtype].passed
        if not found.complete:
            self._stopped = self._stopped or not passed
            self.unfinished += (dtype,) if passed else ()
        return passed

    def select(self, wanted: Sequence[str], *, force: bool = False) -> tuple[str, ...]:
        """Of the wanted variants those to write: what was made and passed, or was only made where that is forced.

        The others are removed, and :attr:`left_out` says why.

        Args:
            wanted: The variants that were asked for.
            force: Whether those that miss a bound are written, too.

        Raises:
            ParityError: none is left, or fp32, which all others are made of, is not what PyTorch gives.
        """
        reasons = dict(self._workspace.failed)
        if not force:
            if not self.measured[FP32].passed:
                self.record(force=False)
            reasons |= {dtype: _describe_miss(found) for dtype, found in self._discard_missed().items()}
        left, self.left_out = leave_out(wanted, reasons, stopped=self._stopped)
        return left

    def _discard_missed(self) -> dict[str, VariantMeasurements]:
        """Remove the variants that miss a bound; what was measured of them."""
        missed = {dtype: found for dtype, found in self.measured.items() if not found.passed}
        self._workspace.discard(list(missed))
        self.measured = {dtype: found for dtype, found in self.measured.items() if dtype not in missed}
        return missed

    def choose(self, prefer: str, progress: Report = _report_nothing, *, deadline: float = math.inf) -> str:
        """Measure size, latency and distance of all variants, and keep the best of those that passed.

        The table of all goes into the manifest. Those that did not pass are forgotten: nobody asked for them by name.

        Args:
            prefer: See :func:`~edgepipe_export.selection.choose.choose`.
            progress: Called with how many rounds of how many were measured.
            deadline: When to stop, by :func:`time.monotonic`: to add rounds on a noisy machine, and to measure the best
                on more inputs where its time was over before they decided.

        Returns:
            The dtype of the best.

        Raises:
            ParityError: not even fp32 passes.
        """
        if not self.measured[FP32].passed:
            self.record(force=False)
        latencies = self._latencies(progress, deadline)
        candidates = [self._candidate(dtype, latencies[dtype]) for dtype in self.measured]
        chosen, candidates = self._settle(candidates, prefer, deadline)
        self.undecided = undecided(candidates, prefer)
        self._extra["noise"] = {
            "spread": max(entry.latency_spread for entry in candidates),
            "noisy": is_noisy(latencies),
            "undecided": list(self.undecided),
        }
        self.inputs_used = self._describe_inputs()
        self._discard_missed()
        self._workspace.record(replace(self._workspace.manifest, candidates=tabulate(candidates, chosen)))
        return chosen.dtype

    def _settle(self, candidates: list[Candidate], prefer: str, deadline: float) -> tuple[Candidate, list[Candidate]]:
        """Choose one, and measure it on more inputs where the time was over before they decided, until one holds.

        Returns:
            The one, and the candidates with what was found.
        """
        while True:
            chosen = choose(candidates, prefer)
            known = self.measured[chosen.dtype]
            if not known.stopped or time.monotonic() >= deadline:
                return chosen, candidates
            found = self.check(chosen.dtype, deadline=deadline)
            if found.compared <= known.compared:  # no time for more
                return chosen, candidates
            self.measured[chosen.dtype] = replace(known, checks=found.checks)
            again = replace(chosen, passed=found.passed, figures=found.figures)
            candidates = [again if entry.dtype == chosen.dtype else entry for entry in candidates]

    def find_chances(self, dtypes: Sequence[str]) -> list[Check]:
        """Of some variants the checks whose bound is held only because the inputs do not tell the loss from none."""
        found = (self.measured[dtype].by_chance for dtype in dtypes)
        return [check for check in found if check is not None]

    def _describe_inputs(self) -> str:
        """On how many inputs each quantized variant was measured, and whose time was over before they decided."""
        quantized = {dtype: found for dtype, found in self.measured.items() if dtype != FP32}
        by_count: dict[int, list[str]] = {found.compared: [] for found in quantized.values()}
        for dtype, found in quantized.items():
            by_count[found.compared].append(dtype)
        inputs = len(self._data.measured.inputs)
        measured = "; ".join(f"{', '.join(names)} on {count}" for count, names in sorted(by_count.items()))
        stopped = ", ".join(dtype for dtype, found in quantized.items() if found.stopped)
        more = f"; the time was over before {stopped} was decided; give it more (budget=, --budget)" if stopped else ""
        return f"{inputs} inputs, of which {measured}{more}"

    def _candidate(self, dtype: str, latency: Latency) -> Candidate:
        found = self.measured[dtype]
        return Candidate(
            dtype,
            self._workspace.manifest.variants[dtype].bytes,
            latency.median_ms,
            latency.spread,
            0.0 if dtype == FP32 else self._distance("distance", self._comparison.distance, dtype),
            found.passed,
            found.figures,
        )

    def check(
        self, dtype: str, precisions: Mapping[str, str] | None = None, deadline: float | None = None
    ) -> VariantMeasurements:
        """Compare one variant with its reference: as it is now, or with these precisions.

        Args:
            dtype: The variant.
            precisions: The precisions of its layers.
            deadline: When to stop, or before; None for all inputs. See :func:`~.evaluation.gate.check_quantized`.
        """

        def compare() -> VariantMeasurements:
            reference = PYTORCH if dtype == FP32 else FP32
            bundle = None if dtype == FP32 else self._prepare(dtype, precisions)
            checks = self._comparison.check(dtype, reference, self._tolerance, bundle, deadline)
            if bundle is not None and self._workspace.quantizes_cache(dtype):
                checks.append(self._check_cache(dtype, bundle))
            return VariantMeasurements(tuple(checks))

        if dtype == FP32 and self._reference is None:
            return compare()
        if dtype == FP32:
            key: dict[str, Any] = {"what": "parity", "reference": self._reference}
        else:
            key = {"what": "checks", "tolerance": asdict(self._tolerance), **self._key(dtype, precisions)}
            key |= {} if deadline is None else {"inputs": "as many as decide"}
        return self._workspace.cache.value(
            key,
            compute=compare,
            to_json=_to_json,
            from_json=_from_json,
            keep=lambda found: not found.stopped,
        )

    def _check_cache(self, dtype: str, bundle: Bundle) -> Check:
        """Compare a variant with itself as it would be with a cache in fp32."""
        from edgepipe import Tokenizer
        from edgepipe_export.evaluation.comparison import pack_long_texts
        from edgepipe_export.evaluation.perplexity import check_cache
        from edgepipe_export.evaluation.predictors import VariantLanguageModel

        tokenizer = Tokenizer.from_pretrained(self._workspace.folder)
        encoded = pack_long_texts(self._data.measured, tokenizer, bundle.max_length)
        with tempfile.TemporaryDirectory(dir=self._workspace.folder / GRAPH_FOLDER, prefix="cache-") as scratch:
            plain = self._workspace.copy_with_fp32_cache(dtype, Path(scratch) / "bundle")
            reference, candidate = (VariantLanguageModel(each, dtype, tokenizer) for each in (plain, bundle))
            return check_cache(reference, candidate, encoded, self._tolerance)

    def _layer_cost(self, dtype: str, precisions: Mapping[str, str]) -> float:
        """How far a variant with these precisions is from fp32, on what recipes are calibrated with."""
        return self._distance("cost", self._comparison.calibration_distance, dtype, precisions)

    def _distance(
        self,
        what: str,
        distance: Callable[[str, Bundle], float],
        dtype: str,
        precisions: Mapping[str, str] | None = None,
    ) -> float:
        return self._workspace.cache.value(
            {"what": what, **self._key(dtype, precisions)},
            compute=lambda: distance(dtype, self._prepare(dtype, precisions)),
            to_json=float,
            from_json=float,
        )

    def _key(self, dtype: str, precisions: Mapping[str, str] | None = None) -> dict[str, Any]:
        return {"measured": self._data.measured.digest, **self._workspace.key(dtype, precisions)}

    def _prepare(self, dtype: str, precisions: Mapping[str, str] | None) -> Bundle:
        """The bundle with the variant as it is now, or with these precisions."""
        if precisions is not None:
            self._workspace.try_precisions(dtype, precisions)
        return self._workspace.bundle

    def _precision_times(self, dtype: str, shares: Mapping[str, float], deadline: float) -> Mapping[str, Latency]:
        """How long a variant takes with all its products in its own precision, and in each that it can mix with."""
        mixes: dict[str, Mapping[str, str]] = {dtype: {}}
        mixes |= {precision: dict.fromkeys(shares, precision) for precision in load_recipe(dtype).mixes}

        def load_runs(scratch: Path) -> dict[str, Callable[[], int]]:
            runs = {}
            for name, precisions in mixes.items():
                self._workspace.try_precisions(dtype, precisions)
                runs[name] = self._comparison.timed_run(dtype, self._workspace.copy(dtype, scratch / name))
            return runs

        def compute() -> Mapping[str, Latency]:
            graphs = self._workspace.folder / GRAPH_FOLDER
            with tempfile.TemporaryDirectory(dir=graphs, prefix="timing-") as scratch:
                return measure(load_runs(Path(scratch)), deadline=deadline)

        return self._workspace.cache.value(
            {"what": "precision times", "host": platform.node(), "mixes": list(mixes), **self._key(dtype, {})},
            compute=compute,
            to_json=_latencies_to_json,
            from_json=lambda record: {name: Latency(**record[name]) for name in mixes},
            keep=lambda found: not is_noisy(found),
        )

    def _latencies(self, progress: Report, deadline: float) -> Mapping[str, Latency]:
        """The latencies of all variants, in turn; alone, or on another machine, they would be others."""
        bundle = self._workspace.bundle
        quantized = sorted(dtype for dtype in self.measured if dtype != FP32)
        return self._workspace.cache.value(
            {"what": "latencies", "host": platform.node(), "variants": list(map(self._key, quantized))},
            compute=lambda: measure(
                {dtype: self._comparison.timed_run(dtype, bundle) for dtype in self.measured},
                progress=progress,
                deadline=deadline,
            ),
            to_json=_latencies_to_json,
            from_json=lambda record: {dtype: Latency(**record[dtype]) for dtype in self.measured},
            keep=lambda found: not is_noisy(found),
        )

    def time_requests(self, dtypes: Sequence[str], progress: Report = _report_nothing) -> None:
        """Measure where the time of a request goes.

        Args:
            dtypes: The variants that are written.
            progress: Called with how many rounds of how many were measured.
        """
        manifest = self._workspace.manifest
        found = self._workspace.cache.value(
            {
                "what": "requests",
                "host": platform.node(),
                "dtypes": list(dtypes),
                "variants": [self._key(dtype) for dtype in dtypes if dtype != FP32],
            },
            compute=lambda: measure_requests(
                self._workspace.bundle, manifest.task, dtypes, self._data.measured, progress
            ),
            to_json=lambda times: {dtype: asdict(each) for dtype, each in times.items()},
            from_json=lambda record: {dtype: RequestTime(**each) for dtype, each in record.items()},
        )
        self.measured |= {dtype: replace(self.measured[dtype], time=each) for dtype, each in found.items()}

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
        manifest = self._workspace.manifest
        parities = {
            dtype: summarize(
                found.checks,
                len(self._comparison.texts) if dtype == FP32 else found.compared,
                self._data.seen if self._workspace.is_fitted(dtype) else 0,
                self._device,
                None if dtype == FP32 else self._data.data.digest,
            )
            for dtype, found in self.measured.items()
        }
        variants = {dtype: replace(variant, parity=parities[dtype]) for dtype, variant in manifest.variants.items()}
        self._workspace.record(replace(manifest, variants=variants))
        write_report(self._workspace.folder, self._data, self.measured, self._extra, keep_texts=self._for_report)


def leave_out(
    wanted: Sequence[str], reasons: Mapping[str, str], *, stopped: bool = False
) -> tuple[tuple[str, ...], ParityError | None]:
    """Leave some of the wanted variants out.

    Args:
        wanted: The variants that were asked for.
        reasons: Why some are not to be written, by dtype.
        stopped: Whether the repair of one of them ran out of its time.

    Returns:
        Those that are left, and the error about the others; None where none is left out.

    Raises:
        ParityError: none is left.
    """
    left = tuple(dtype for dtype in wanted if dtype not in reasons)
    if len(left) == len(wanted):
        return left, None
    why = " | ".join(f"{dtype} misses its bound: {reasons[dtype]}" for dtype in wanted if dtype in reasons)
    outcome = f"{', '.join(left)} written without it" if left else "nothing was written"
    repair = "a longer repair (budget=, --budget), " if stopped else ""
    error = ParityError(
        f"{why}; {outcome}. Try {repair}another dtype, a larger max_drop= (--max-drop), or force=True (--force), which "
        "writes it as it is"
    )
    if not left:
        raise error
    return left, error


def _describe_miss(found: VariantMeasurements) -> str:
    return "; ".join(check.deciding_figure for check in found.checks if not check.passed)


def _share(end: float, waiting: int) -> float:
    """When to stop with the first of some that wait, so that all have as much of the time that is left."""
    now = time.monotonic()
    return now + max(0.0, end - now) / waiting


def _latencies_to_json(found: Mapping[str, Latency]) -> dict[str, dict[str, float]]:
    return {name: asdict(latency) for name, latency in found.items()}


def _to_json(found: VariantMeasurements) -> list[dict[str, Any]]:
    return [asdict(check) for check in found.checks]


def _from_json(record: Any) -> VariantMeasurements:
    return VariantMeasurements(tuple(read_check(entry) for entry in record))


def _describe_times(latencies: Mapping[str, Latency]) -> str:
    times = describe_latencies(latencies)
    return f"{times} (on a noisy machine)" if is_noisy(latencies) else times


def _count_precisions(precisions: Mapping[str, str]) -> str:
    counts = Counter(precisions.values())
    return ", ".join(f"{count} to {name}" for name, count in sorted(counts.items())) or "none"


def _describe_repair(found: Repair, layers: int, budget: float) -> str:
    tried = f"{found.attempts} mixed graphs were tried, {len(found.costs)} of {layers} layers measured"
    if found.complete:
        return f"; a repair did not help: {tried}"
    return f"; the repair's budget of {budget:.0f} s was too short: {tried}; give it more (budget=, --budget)"
