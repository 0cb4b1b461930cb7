"""Size, latency and quality in a plot: of all candidates where there were any, else of the variants."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgepipe.bundle.manifest import Parity
from edgepipe_export.reporting.contents import Contents, Listed
from edgepipe_export.reporting.markup import Markup, element
from edgepipe_export.reporting.plot import Axis, Point, mark, scatter
from edgepipe_export.reporting.sections import verdict
from edgepipe_export.reporting.tables import table
from edgepipe_export.reporting.wording import DISTANCE, chosen_quality, datum, figure, number, share, size, written

_FP32 = "fp32"


def choice(contents: Contents) -> Markup | None:
    """The section of the plots; None where too little was measured for one."""
    if contents.candidates:
        return _of_candidates(contents)
    plot = _of_variants(contents)
    return None if plot is None else _section("Size and quality", plot, _legend(candidates=False))


def _of_candidates(contents: Contents) -> Markup:
    candidates = contents.candidates
    measured = {entry.dtype: entry.figures for entry in candidates}
    name = _common(measured)
    # Where no figure is told of all of them: what the front was found by.
    distances = {entry.dtype: entry.distance for entry in candidates if math.isfinite(entry.distance)}
    qualities = distances if name is None else _of_all(name, measured)
    name = name or DISTANCE
    drawn = [entry for entry in candidates if entry.dtype in qualities]
    plots = [
        _plot(
            "latency",
            "Latency and quality of the candidates",
            Axis("milliseconds an input", number, from_zero=True),
            name,
            # The spread is the middle half of the rounds, from end to end.
            [_point(entry, entry.latency_ms, qualities, name, _spread(entry) / 2) for entry in drawn],
        ),
        _plot(
            "size",
            "Size and quality of the candidates",
            Axis("megabytes", number, from_zero=True),
            name,
            [_point(entry, entry.bytes / 1e6, qualities, name, 0.0) for entry in drawn],
        ),
    ]
    return _section(
        "Candidates",
        element("div", *plots, class_="plots"),
        _legend(candidates=True),
        _noise(contents),
        _table(candidates, qualities, name),
    )


def _spread(entry: Listed) -> float:
    return entry.latency_ms * entry.latency_spread


def _point(entry: Listed, x: float, qualities: Mapping[str, float], name: str, spread: float) -> Point:
    quality = qualities[entry.dtype]
    told = (
        f"{entry.dtype}: {number(entry.latency_ms)} ms, {size(entry.bytes)}, {figure(name).label} "
        f"{written(name, quality)}, bound {'held' if entry.passed else 'missed'}"
    )
    return Point(entry.dtype, x, quality, told, entry.passed, entry.pareto, entry.chosen, spread)


def _table(candidates: Sequence[Listed], qualities: Mapping[str, float], name: str) -> Markup:
    shown = [] if name == DISTANCE else [figure(name).label]
    headers = [
        "Candidate",
        "Size",
        "Latency, ms",
        "Spread, ms",
        *shown,
        "Distance to fp32",
        "Bound",
        "On the front",
        "Chosen",
    ]
    rows = []
    for entry in candidates:
        quality = qualities.get(entry.dtype)
        rows.append(
            [
                entry.dtype,
                datum(size(entry.bytes), entry.bytes),
                datum(number(entry.latency_ms), entry.latency_ms),
                datum(number(_spread(entry)), _spread(entry)),
                *(datum(written(name, quality), quality) for _ in shown),
                datum(number(entry.distance), entry.distance),
                verdict(entry.passed),
                "yes" if entry.pareto else "no",
                "yes" if entry.chosen else "no",
            ]
        )
    return table("All candidates", headers, rows)


def _noise(contents: Contents) -> Markup | None:
    if contents.noise is None:
        return None
    spread = contents.noise.get("spread")
    told = (
        f": the middle half of a candidate's rounds spans up to {share(spread)} of their median"
        if _is_number(spread)
        else ""
    )
    if contents.noise.get("noisy"):
        open_yet = contents.noise.get("undecided")
        ending = "; latencies that are close may be equal."
        if isinstance(open_yet, list) and open_yet:
            ending = f"; too noisy to tell which is the fastest of {', '.join(map(str, open_yet))}."
        return element("p", element("strong", "The machine was noisy"), told, ending)
    return element("p", "The machine was quiet while latencies were measured", told, ".")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _of_variants(contents: Contents) -> Markup | None:
    found = {dtype: entry.parity for dtype, entry in contents.manifest.variants.items() if entry.parity is not None}
    measured = {dtype: _qualities(parity) for dtype, parity in found.items()}
    name = _common(measured)
    if name is None:
        return None
    qualities = _of_all(name, measured)
    points = []
    for dtype, quality in qualities.items():
        count = contents.manifest.variants[dtype].bytes
        told = f"{dtype}: {size(count)}, {figure(name).label} {written(name, quality)}"
        points.append(Point(dtype, count / 1e6, quality, told, found[dtype].passed))
    if len(points) < 2:
        return None
    title = "Size and quality of the variants"
    return element("div", _plot("size", title, Axis("megabytes", number, from_zero=True), name, points), class_="plots")


def _qualities(parity: Parity) -> dict[str, float]:
    agreement = {} if parity.label_agreement is None else {"label_agreement": parity.label_agreement}
    return agreement | dict(parity.figures)


def _common(measured: Mapping[str, Mapping[str, float]]) -> str | None:
    """The figure that shows quality best of those that every quantized variant has."""
    quantized = [figures for dtype, figures in measured.items() if dtype != _FP32]
    return (
        chosen_quality({name: 0.0 for name in quantized[0] if all(name in entry for entry in quantized)})
        if quantized
        else None
    )


def _of_all(name: str, measured: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """A figure of each variant; fp32's is measured beside the others', or that of being the same."""
    own = f"reference_{name}"
    reference = next((figures[own] for figures in measured.values() if own in figures), 1.0)
    values = {dtype: reference if dtype == _FP32 else figures[name] for dtype, figures in measured.items()}
    return {dtype: value for dtype, value in values.items() if value is not None and math.isfinite(value)}


def _plot(name: str, title: str, across: Axis, quality: str, points: Sequence[Point]) -> Markup:
    label = figure(quality).label
    own = figure(quality)
    upwards = Axis(
        label, lambda value: f"{100 * value:.4g} %" if own.is_share else f"{value:.5g}", falls=own.less_is_better
    )
    told = f"Upwards: {label}{', the lower the better' if own.less_is_better else ''}."
    return element(
        "figure",
        element("figcaption", element("strong", title), element("small", told)),
        scatter(f"plot-{name}", f"{title}; upwards: {label}", across, upwards, points),
    )


def _legend(*, candidates: bool) -> Markup:
    signs = [((True, False, False), "kept its bound"), ((False, False, False), "missed it")]
    if candidates:
        signs += [
            ((True, True, False), "on the Pareto front: no other is as small, as fast and as near to fp32"),
            ((True, True, True), "chosen"),
        ]
    return element(
        "ul",
        *(element("li", mark(*sign), element("span", told)) for sign, told in signs),
        class_="legend",
    )


def _section(title: str, *children: Markup | None) -> Markup:
    return element("section", element("h2", title, id="choice"), *children, aria_labelledby="choice")
