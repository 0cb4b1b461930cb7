"""Size, latency and quality: plots of all candidates where an export chose from some, otherwise of the variants."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgepipe_export.reporting.contents import Contents, ManifestCandidate
from edgepipe_export.reporting.formatting import DISTANCE, QUALITY_METRICS, find_metric, format_number, format_size
from edgepipe_export.reporting.plots import Axis, Point, ScatterPlot
from edgepipe_export.reporting.tables import Content, PageTable, collect_metrics, metric_cell, number_cell, size_cell

_FP32 = "fp32"
_LATENCY, _SIZE = "milliseconds an input", "megabytes"
_FRONT = (
    "Full marks are on the Pareto front: no other candidate is as small, as fast and as near to fp32. The dashed line "
    "joins the best of them."
)


def plot_tradeoff(contents: Contents) -> tuple[list[ScatterPlot], PageTable] | None:
    """The plots, and their figures as one table; None where too little was measured."""
    return _plot_candidates(contents) if contents.candidates else _plot_variants(contents)


def _plot_candidates(contents: Contents) -> tuple[list[ScatterPlot], PageTable]:
    candidates = contents.candidates
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
    plots = [
        _plot("Quality and latency of the candidates", by_latency, _LATENCY, name, _FRONT),
        _plot("Quality and size of the candidates", by_size, _SIZE, name, ""),
    ]
    return plots, _tabulate_candidates(candidates, qualities, name)


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


def _plot_variants(contents: Contents) -> tuple[list[ScatterPlot], PageTable] | None:
    parities, variants = contents.parities, contents.manifest.variants
    measured = {dtype: collect_metrics(parity) for dtype, parity in parities.items()}
    name = _choose_metric(measured)
    if name is None:
        return None
    metric = find_metric(name)
    qualities = _collect_values(name, measured)
    if len(qualities) < 2:
        return None
    times = contents.times
    latencies = {dtype: times[dtype].total_ms for dtype in qualities if dtype in times}

    def to_point(dtype: str, x: float, spread: float = 0.0) -> Point:
        latency = f"{format_number(latencies[dtype])} ms, " if dtype in latencies else ""
        description = (
            f"{dtype}: {latency}{format_size(variants[dtype].bytes)}, {metric.label} {metric.format(qualities[dtype])}"
        )
        return Point(dtype, x, qualities[dtype], description, parities[dtype].passed, spread=spread)

    plots = [
        _plot(
            "Quality and size", [to_point(dtype, variants[dtype].bytes / 1e6) for dtype in qualities], _SIZE, name, ""
        )
    ]
    if latencies.keys() == qualities.keys():
        points = [to_point(dtype, times[dtype].total_ms, times[dtype].spread_ms / 2) for dtype in qualities]
        plots.insert(0, _plot("Quality and latency", points, _LATENCY, name, ""))
    rows: list[list[Content]] = [
        [
            dtype,
            size_cell(variants[dtype].bytes),
            number_cell(latencies.get(dtype)),
            number_cell(times[dtype].spread_ms if dtype in times else None),
            metric_cell(name, qualities[dtype]),
            parities[dtype].passed,
        ]
        for dtype in qualities
    ]
    headers = ["Variant", "Size", "Latency, ms", "Spread, ms", metric.label, "Bound"]
    return plots, PageTable("Size, latency and quality of each variant", headers, rows)


def _plot(title: str, points: Sequence[Point], x_label: str, name: str, note: str) -> ScatterPlot:
    metric = find_metric(name)

    def write(value: float) -> str:
        return f"{100 * value:.4g} %" if metric.is_share else f"{value:.5g}"

    spread = "A line to both sides is the middle half of the rounds." if any(point.spread for point in points) else ""
    better = "Lower is better, and lies higher." if metric.lower_is_better else ""
    caption = " ".join(part for part in (better, note, spread) if part)
    axis = Axis(metric.label, write, metric.is_share or metric.is_bounded, metric.lower_is_better)
    description = "; ".join(point.description for point in points)
    return ScatterPlot(title, caption, description, tuple(points), x_label, axis)


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
