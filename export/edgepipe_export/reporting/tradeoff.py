"""Size, latency and quality: plots of all candidates where an export chose from some, otherwise of the variants."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgepipe_export.reporting.contents import Contents, ManifestCandidate
from edgepipe_export.reporting.formatting import DISTANCE, QUALITY_METRICS, find_metric, format_number, format_size
from edgepipe_export.reporting.plot import Axis, Plot, Point, lay_out
from edgepipe_export.reporting.tables import PageTable, collect_metrics, metric_cell, number_cell, size_cell

_FP32 = "fp32"
_LATENCY = Axis("milliseconds an input", format_number, from_zero=True)
_SIZE = Axis("megabytes", format_number, from_zero=True)


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """What the section shows.

    Attributes:
        title: Its heading.
        plots: Its plots.
        table: All candidates; None where the plots are of the variants.
    """

    title: str
    plots: Sequence[Plot]
    table: PageTable | None = None


def plot_tradeoff(contents: Contents) -> Tradeoff | None:
    """Plot what there is; None where too little was measured."""
    return _plot_candidates(contents.candidates) if contents.candidates else _plot_variants(contents)


def _plot_candidates(candidates: Sequence[ManifestCandidate]) -> Tradeoff:
    measured = {entry.dtype: entry.figures for entry in candidates}
    name = _choose_metric(measured)
    if name is None:  # they share no metric; the Pareto front was found by the distance
        name = DISTANCE
        qualities = {entry.dtype: entry.distance for entry in candidates if math.isfinite(entry.distance)}
    else:
        qualities = _collect_values(name, measured)

    def to_point(entry: ManifestCandidate, x: float, spread: float = 0.0) -> Point:
        quality = qualities[entry.dtype]
        description = (
            f"{entry.dtype}: {format_number(entry.latency_ms)} ms, {format_size(entry.bytes)}, "
            f"{find_metric(name).label} {find_metric(name).format(quality)}, "
            f"bound {'held' if entry.passed else 'missed'}"
        )
        return Point(entry.dtype, x, quality, description, entry.passed, entry.pareto, entry.chosen, spread)

    drawn = [entry for entry in candidates if entry.dtype in qualities]
    # The spread is the middle half of the rounds, from end to end.
    by_latency = [to_point(entry, entry.latency_ms, entry.spread_ms / 2) for entry in drawn]
    by_size = [to_point(entry, entry.bytes / 1e6) for entry in drawn]
    y_axis = _quality_axis(name)
    plots = [
        lay_out("plot-latency", "Latency and quality of the candidates", _LATENCY, y_axis, by_latency),
        lay_out("plot-size", "Size and quality of the candidates", _SIZE, y_axis, by_size),
    ]
    return Tradeoff("Candidates", plots, _tabulate_candidates(candidates, qualities, name))


def _tabulate_candidates(
    candidates: Sequence[ManifestCandidate], qualities: Mapping[str, float], name: str
) -> PageTable:
    quality = [] if name == DISTANCE else [find_metric(name).label]
    headers = ["Candidate", "Size", "Latency, ms", "Spread, ms", *quality]
    headers += ["Distance to fp32", "Bound", "On the front", "Chosen"]
    rows = [
        [
            entry.dtype,
            size_cell(entry.bytes),
            number_cell(entry.latency_ms),
            number_cell(entry.spread_ms),
            *(metric_cell(name, qualities.get(entry.dtype)) for _ in quality),
            number_cell(entry.distance),
            entry.passed,
            "yes" if entry.pareto else "no",
            "yes" if entry.chosen else "no",
        ]
        for entry in candidates
    ]
    return PageTable("All candidates", headers, rows)


def _plot_variants(contents: Contents) -> Tradeoff | None:
    parities, variants = contents.parities, contents.manifest.variants
    measured = {dtype: collect_metrics(parity) for dtype, parity in parities.items()}
    name = _choose_metric(measured)
    if name is None:
        return None
    metric = find_metric(name)
    points = [
        Point(
            dtype,
            variants[dtype].bytes / 1e6,
            quality,
            f"{dtype}: {format_size(variants[dtype].bytes)}, {metric.label} {metric.format(quality)}",
            parities[dtype].passed,
        )
        for dtype, quality in _collect_values(name, measured).items()
    ]
    if len(points) < 2:
        return None
    title = "Size and quality of the variants"
    return Tradeoff("Size and quality", [lay_out("plot-size", title, _SIZE, _quality_axis(name), points)])


def _choose_metric(measured: Mapping[str, Mapping[str, float]]) -> str | None:
    """The metric that shows quality best of those that every quantized variant has."""
    quantized = [metrics for dtype, metrics in measured.items() if dtype != _FP32]
    shared = (name for name in QUALITY_METRICS if all(name in metrics for metrics in quantized))
    return next(shared, None) if quantized else None


def _collect_values(name: str, measured: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """A metric of each variant. That of fp32 is in the others' records; without one, fp32 equals itself."""
    own = f"reference_{name}"
    reference = next((metrics[own] for metrics in measured.values() if own in metrics), 1.0)
    values = {dtype: reference if dtype == _FP32 else metrics[name] for dtype, metrics in measured.items()}
    return {dtype: value for dtype, value in values.items() if value is not None and math.isfinite(value)}


def _quality_axis(name: str) -> Axis:
    metric = find_metric(name)

    def write(value: float) -> str:
        return f"{100 * value:.4g} %" if metric.is_share else f"{value:.5g}"

    return Axis(metric.label, write, is_inverted=metric.lower_is_better)
