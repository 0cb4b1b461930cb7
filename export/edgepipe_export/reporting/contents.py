"""The data of a report, read from a bundle: its manifest, and the file of measurements where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from edgepipe.bundle import strict_json
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.integrity import parse_json
from edgepipe.bundle.labels import name_labels, read_labels
from edgepipe.bundle.layout import MANIFEST_NAME, REPORT_NAME
from edgepipe.bundle.manifest import FileEntry, Manifest, Parity, Source, Variant
from edgepipe.errors import BundleError
from edgepipe.pipelines.task_loading import infer_task
from edgepipe_export.evaluation.checks import (
    Check,
    Disagreement,
    number_or_infinity,
    read_check,
    read_disagreement,
    summarize,
)
from edgepipe_export.evaluation.metrics.confusion import Confusion, read_confusion
from edgepipe_export.selection.choose import Candidate
from edgepipe_export.selection.latency import Latency
from edgepipe_export.selection.measurements import REPORT_VERSION, Sensitivity, VariantMeasurements
from edgepipe_export.selection.request_time import RequestTime

SCHEMA_VERSION = 1

_FP32 = "fp32"


@dataclass(frozen=True, slots=True)
class ManifestCandidate(Candidate):
    """A candidate as the manifest lists it.

    Attributes:
        chosen: Whether it is the one that was written.
        pareto: Whether no other is as good in size, latency and distance, and better in one of them.
    """

    chosen: bool
    pareto: bool

    @property
    def spread_ms(self) -> float:
        """How far the middle half of the rounds' latencies spans, in milliseconds."""
        return self.latency_ms * self.latency_spread


@dataclass(frozen=True, slots=True)
class Measurements:
    """What the file of measurements says of one variant.

    Attributes:
        checks: Every comparison with the reference.
        worst: The inputs whose results are farthest apart, the worst first.
        sensitivities: What each layer costs; empty where nothing was repaired.
        confusion: What was decided otherwise; None where nothing is decided, or an older version measured.
        time: Where the time of a request goes; None where that was not measured.
        precisions: The layers that a repair gave another precision; empty where an older version measured.
        precision_times: How long an input takes in each precision that a repair chose from; empty where it did not
            weigh time, or no report was asked for.
    """

    checks: tuple[Check, ...] = ()
    worst: tuple[Disagreement, ...] = ()
    sensitivities: tuple[Sensitivity, ...] = ()
    confusion: Confusion | None = None
    time: RequestTime | None = None
    precisions: Mapping[str, str] = field(default_factory=dict)
    precision_times: Mapping[str, Latency] = field(default_factory=dict)


class VerificationResult(Protocol):
    """What a report reads of an :class:`edgepipe_export.Verification`, which says what it is."""

    @property
    def rows(self) -> tuple[Check, ...]:
        """The checks."""

    @property
    def data(self) -> Mapping[str, Any]:
        """What was compared on."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a report shows.

    Attributes:
        manifest: The bundle's.
        candidates: Those that ``--dtype auto`` chose from; empty where the variants were named.
        measurements: By dtype; a variant may lack them.
        calibration: What variants were measured on: its origin, how many inputs, whether with the right answers.
        noise: How much the machine's speed varied while candidates were measured; None where none were.
        verified: Whether quality was measured by a verification, and not at export.
        findings: What an audit found missing or wrong: what it is about, and a sentence.
    """

    manifest: Manifest
    candidates: tuple[ManifestCandidate, ...]
    measurements: Mapping[str, Measurements]
    calibration: Mapping[str, Any] | None = None
    noise: Mapping[str, Any] | None = None
    verified: bool = False
    findings: tuple[tuple[str, str], ...] = ()

    def ratio(self, dtype: str) -> float | None:
        """A variant's size, as a part of fp32's; None where neither the variants nor the candidates have fp32."""
        sizes = {entry.dtype: entry.bytes for entry in self.candidates}
        sizes |= {name: variant.bytes for name, variant in self.manifest.variants.items()}
        return self.manifest.variants[dtype].bytes / sizes[_FP32] if sizes.get(_FP32) else None

    @property
    def parities(self) -> dict[str, Parity]:
        """The parity of each variant that was measured."""
        variants = self.manifest.variants.items()
        return {dtype: variant.parity for dtype, variant in variants if variant.parity is not None}

    @property
    def times(self) -> dict[str, RequestTime]:
        """Where the time of a request goes, for each variant of which that was measured."""
        return {dtype: found.time for dtype, found in self.measurements.items() if found.time is not None}

    @property
    def origin(self) -> str:
        """What the data are called that variants were measured on."""
        return "the data" if self.calibration is None else str(self.calibration.get("origin", "the data"))

    def raised_layers(self, dtype: str) -> Mapping[str, str]:
        """The layers that a repair gave another precision than the variant's, by name."""
        if dtype not in self.manifest.variants:  # a candidate that was measured, and not chosen
            return self.measurements[dtype].precisions
        precisions = self.manifest.variants[dtype].recipe.get("precisions", {})
        return precisions if isinstance(precisions, Mapping) else {}

    def to_json(self) -> str:
        """The same as JSON, in full."""
        manifest = self.manifest
        names = ("task", "source", "versions", "machine", "max_length", "max_length_source", "labels", "default_dtype")
        bundle = {name: value for name, value in asdict(manifest).items() if name in names}
        record = {
            "schema_version": SCHEMA_VERSION,
            "bundle": bundle,
            "calibration": self.calibration,
            "variants": [self._variant_record(dtype, variant) for dtype, variant in manifest.variants.items()],
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "noise": self.noise,
            "findings": [{"part": part, "problem": problem} for part, problem in self.findings],
        }
        return strict_json.dumps(record) + "\n"

    def _variant_record(self, dtype: str, variant: Variant) -> dict[str, Any]:
        return {
            "dtype": dtype,
            "bytes": variant.bytes,
            "ratio": self.ratio(dtype),
            "recipe": dict(variant.recipe),
            "parity": None if variant.parity is None else asdict(variant.parity),
            **asdict(self.measurements.get(dtype, Measurements())),
        }


def show_verification(contents: Contents, verification: VerificationResult, machine: str) -> Contents:
    """The contents with the quality that a verification measured in place of the export's.

    Variants that it did not compare are left out, and so are the candidates of a choice.

    Args:
        contents: Those of the bundle.
        verification: What was found.
        machine: The machine it was found on. Times of another machine are left out.
    """
    manifest, data = contents.manifest, verification.data
    variants, measurements = {}, {}
    for dtype, variant in manifest.variants.items():
        checks = tuple(check for check in verification.rows if check.dtype == dtype)
        if not checks:
            continue
        calibrated = variant.recipe.get("calibrated", {})
        is_calibrated = calibrated.get("data_sha256") == data.get("data_sha256")
        seen = calibrated.get("inputs", 0) if is_calibrated and data.get("seen") else 0
        variants[dtype] = replace(variant, parity=summarize(checks, checks[-1].compared, seen))
        before = contents.measurements.get(dtype, Measurements())
        found = VariantMeasurements(checks)
        measurements[dtype] = Measurements(
            checks,
            found.worst,
            before.sensitivities,
            found.confusion,
            before.time if machine == manifest.machine else None,
        )
    shown = replace(manifest, variants=variants, machine=machine)
    return Contents(shown, (), measurements, {**data, "calibrated": 0, "seen": 0}, verified=True)


def read_contents(bundle: Bundle) -> Contents:
    """Read the manifest and the measurements of a bundle.

    Raises:
        BundleError: the bundle has no manifest, or one of the two files is damaged.
    """
    if bundle.manifest is None:
        raise BundleError(
            f"{bundle.path} has no {MANIFEST_NAME}: another tool made it, and nothing was measured that a report could "
            "show; export its checkpoint with: edgepipe export MODEL OUT"
        )
    manifest, measured = bundle.manifest, _read_record(bundle.path / REPORT_NAME)
    try:
        return Contents(
            manifest,
            tuple(map(_read_candidate, manifest.candidates)),
            {dtype: _read_measurements(entry) for dtype, entry in measured.get("variants", {}).items()},
            measured.get("calibration"),
            measured.get("noise"),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BundleError(
            f"{bundle.path}: {MANIFEST_NAME} or {REPORT_NAME} is damaged ({error}); export the bundle again"
        ) from error


def describe_directory(bundle: Bundle) -> Contents:
    """What can be said of a directory that another tool made: its files, and what its config says."""
    labels = name_labels(read_labels(bundle.config)) if "id2label" in bundle.config else ()
    architectures = bundle.config.get("architectures")
    names = [path.relative_to(bundle.path).as_posix() for path in sorted(bundle.path.rglob("*")) if path.is_file()]
    variants = {
        dtype: Variant(tuple(_describe(bundle, path) for path in bundle.files(dtype)), {"name": "another tool's"})
        for dtype in bundle.dtypes
    }
    manifest = Manifest(
        infer_task(bundle) or "no task that is known",
        Source(bundle.path.name, None, str(architectures[0]) if architectures else "not known"),
        {},
        "",
        bundle.max_length,
        "the smaller of config.json's and the tokenizer's",
        tuple(labels),
        bundle.default_dtype,
        variants,
        tuple(_describe(bundle, bundle.path / name) for name in names),
        bundle.max_target_length,
    )
    return Contents(manifest, (), {})


def _describe(bundle: Bundle, path: Path) -> FileEntry:
    """A file without its digest, which nobody recorded."""
    return FileEntry(path.relative_to(bundle.path).as_posix(), path.stat().st_size, "")


def _read_record(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON ({error}); export the bundle again, or remove the file") from error
    if not isinstance(record, dict) or record.get("schema_version") != REPORT_VERSION:
        raise BundleError(
            f"{path} is not a file of measurements of schema version {REPORT_VERSION}; upgrade edgepipe, or remove it"
        )
    return record


def _read_candidate(entry: Mapping[str, Any]) -> ManifestCandidate:
    return ManifestCandidate(**{**entry, "distance": number_or_infinity(entry["distance"])})


def _read_measurements(entry: Mapping[str, Any]) -> Measurements:
    return Measurements(
        tuple(map(read_check, entry["checks"])),
        tuple(map(read_disagreement, entry["worst"])),
        tuple(
            Sensitivity(**{**sensitivity, "cost": number_or_infinity(sensitivity["cost"])})
            for sensitivity in entry.get("sensitivities", [])
        ),
        None if entry.get("confusion") is None else read_confusion(entry["confusion"]),
        None if entry.get("time") is None else RequestTime(**entry["time"]),
        dict(entry.get("precisions", {})),
        {name: Latency(**latency) for name, latency in entry.get("precision_times", {}).items()},
    )
