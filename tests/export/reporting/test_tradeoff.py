"""Quality against size and latency: of the candidates where there were some, otherwise of the variants."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from edgepipe_export.reporting.contents import Contents, ManifestCandidate, Measurements
from edgepipe_export.reporting.plots import ScatterPlot
from edgepipe_export.reporting.tables import Cell, PageTable
from edgepipe_export.reporting.tradeoff import plot_tradeoff
from tests.export.reporting.conftest import PARITIES

CANDIDATES = (
    ManifestCandidate("fp32", 4_000_000, 8.0, 0.25, 0.0, True, {}, False, True),
    ManifestCandidate(
        "int8", 1_000_000, 2.0, 0.5, 0.125, False, {"accuracy": 0.75, "reference_accuracy": 0.875}, False, False
    ),
    ManifestCandidate(
        "w8", 2_000_000, 4.0, 0.0, 0.25, True, {"accuracy": 0.875, "reference_accuracy": 0.875}, True, True
    ),
)


def plot(contents: Contents) -> tuple[list[ScatterPlot], PageTable]:
    found = plot_tradeoff(contents)
    assert found is not None
    return found


def places(drawing: ScatterPlot) -> dict[str, tuple[float, float]]:
    return {point.name: (point.x, point.y) for point in drawing.points}


def test_variants_by_latency_and_by_size(contents: Contents) -> None:
    [by_latency, by_size], table = plot(contents)
    assert places(by_latency) == {"fp32": (8, 0.9375), "int8": (4, 0.875), "w8": (6, 0.9375)}
    assert {name: x for name, (x, _) in places(by_size).items()} == {
        dtype: variant.bytes / 1e6 for dtype, variant in contents.manifest.variants.items()
    }
    assert [point.passed for point in by_latency.points] == [parity.passed for parity in PARITIES.values()]
    assert [point.spread for point in by_latency.points] == [2.0, 0.5, 0.75]
    assert by_latency.front() == []  # nobody looked for it
    assert [cell.value for row in table.rows if isinstance(cell := row[2], Cell)] == [8, 4, 6]


def test_without_times_there_is_size_alone(contents: Contents) -> None:
    [by_size], table = plot(replace(contents, measurements={"int8": contents.measurements["int8"]}))
    assert by_size.x_label == "megabytes"
    assert [cell.value for row in table.rows if isinstance(cell := row[2], Cell)] == [None, 4, None]


def test_candidates_go_before_variants(contents: Contents) -> None:
    [by_latency, by_size], table = plot(replace(contents, candidates=CANDIDATES))
    assert places(by_latency) == {"fp32": (8, 0.875), "int8": (2, 0.75), "w8": (4, 0.875)}
    assert places(by_size) == {"fp32": (4, 0.875), "int8": (1, 0.75), "w8": (2, 0.875)}
    assert [point.name for point in by_size.front()] == ["w8"]
    assert [point.chosen for point in by_size.points] == [False, False, True]
    assert [row[0] for row in table.rows] == ["fp32", "int8", "w8"]


@pytest.mark.parametrize("distance", [0.5, math.inf])
def test_candidates_without_a_metric_by_their_distance(contents: Contents, distance: float) -> None:
    bare = [replace(entry, figures={}) for entry in CANDIDATES]
    bare[1] = replace(bare[1], distance=distance)
    [by_latency, _], table = plot(replace(contents, candidates=tuple(bare)))
    assert by_latency.y_axis.is_inverted
    drawn = {"fp32", "w8"} | ({"int8"} if math.isfinite(distance) else set())
    assert places(by_latency).keys() == drawn
    assert len(table.rows) == len(CANDIDATES)


def test_too_little_to_plot(bare: Contents, contents: Contents) -> None:
    assert plot_tradeoff(bare) is None
    alone = {"fp32": contents.manifest.variants["fp32"]}
    assert plot_tradeoff(replace(contents, manifest=replace(contents.manifest, variants=alone))) is None
    other = {dtype: replace(parity, figures={}, label_agreement=None) for dtype, parity in PARITIES.items()}
    variants = {dtype: replace(contents.manifest.variants[dtype], parity=other[dtype]) for dtype in other}
    measurements = {dtype: Measurements() for dtype in other}
    assert plot_tradeoff(Contents(replace(contents.manifest, variants=variants), (), measurements)) is None
