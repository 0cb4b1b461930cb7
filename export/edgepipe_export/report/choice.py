"""Size, latency and quality in a plot: of all candidates where there were any, else of the variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgepipe.manifest import Parity
from edgepipe_export.report.contents import Candidate, Contents
from edgepipe_export.report.markup import Markup, element, joined
from edgepipe_export.report.plot import Axis, Point, mark, scatter
from edgepipe_export.report.sections import verdict
from edgepipe_export.report.tables import table
from edgepipe_export.report.wording import chosen_quality, datum, figure, number, share, size, written

_FP32 = "fp32"


def choice(contents: Contents) -> Markup | None:
    """The section of the plots; None where too little was measured for one."""
    if contents.candidates:
        return _of_candidates(contents)
    plot = _of_variants(contents)
    return None if plot is None else _section("Size and quality", plot, _legend(candidates=False))


def _of_candidates(contents: Contents) -> Markup:
    candidates = contents.candidates
    measured = {index: _figures(contents, candidate) for index, candidate in enumerate(candidates)}
    name = next((name for figures in measured.values() if (name := chosen_quality(figures))), None)
    plots: list[Markup] = []
    if name is not None:
        drawn = [
            (candidate, measured[index][name]) for index, candidate in enumerate(candidates) if name in measured[index]
        ]
        plots = [
            _plot(
                "latency",
                "Latency and quality of the candidates",
                Axis("milliseconds a call", number, from_zero=True),
                name,
                [_point(entry, entry.latency_ms, quality, name, entry.latency_spread) for entry, quality in drawn],
            ),
            _plot(
                "size",
                "Size and quality of the candidates",
                Axis("megabytes", number, from_zero=True),
                name,
                [_point(entry, entry.bytes / 1e6, quality, name, 0.0) for entry, quality in drawn],
            ),
        ]
    return _section(
        "Candidates",
        element("div", *plots, class_="plots") if plots else None,
        _legend(candidates=True) if plots else None,
        _noise(contents),
        _table(candidates, measured, name),
    )


def _figures(contents: Contents, candidate: Candidate) -> Mapping[str, float]:
    """A candidate's figures, with what the manifest tells where it was written."""
    variant = contents.manifest.variants.get(candidate.dtype)
    agreement = variant.parity.label_agreement if variant and variant.parity else None
    known = {} if agreement is None else {"label_agreement": agreement}
    return known | dict(candidate.figures)


def _point(entry: Candidate, x: float, quality: float, name: str, spread: float) -> Point:
    told = (
        f"{entry.dtype}: {number(entry.latency_ms)} ms, {size(entry.bytes)}, {figure(name).label} "
        f"{written(name, quality)}; {entry.reason}"
    )
    return Point(entry.dtype, x, quality, told, entry.passed, entry.pareto, entry.chosen, spread)


def _table(candidates: Sequence[Candidate], measured: Mapping[int, Mapping[str, float]], name: str | None) -> Markup:
    quality = [] if name is None else [name]
    headers = ["Candidate", "Size", "Latency, ms", "Spread, ms", *(figure(own).label for own in quality)]
    rows = []
    for index, entry in enumerate(candidates):
        marks = [word for word, holds in (("chosen", entry.chosen), ("on the front", entry.pareto)) if holds]
        qualities = [measured[index].get(own) for own in quality]
        rows.append(
            [
                entry.dtype,
                datum(size(entry.bytes), entry.bytes),
                datum(number(entry.latency_ms), entry.latency_ms),
                datum(number(entry.latency_spread), entry.latency_spread),
                *(datum(written(own, value), value) for own, value in zip(quality, qualities, strict=True)),
                verdict(entry.passed),
                joined(entry.reason, element("small", f" ({', '.join(marks)})") if marks else None),
            ]
        )
    return table("All candidates", [*headers, "Bound", "Why"], rows, texts=["Why"])


def _noise(contents: Contents) -> Markup | None:
    if contents.noise is None:
        return None
    spread = contents.noise.get("spread")
    told = "" if not isinstance(spread, (int, float)) else f": rounds varied by {share(spread)} of their median"
    if contents.noise.get("noisy"):
        return element(
            "p", element("strong", "The machine was noisy"), told, "; latencies that are close may be equal."
        )
    return element("p", "The machine was quiet while latencies were measured", told, ".")


def _of_variants(contents: Contents) -> Markup | None:
    found = {dtype: entry.parity for dtype, entry in contents.manifest.variants.items() if entry.parity is not None}
    measured = {dtype: _qualities(parity) for dtype, parity in found.items() if dtype != _FP32}
    name = next((name for figures in measured.values() if (name := chosen_quality(figures))), None)
    if name is None:
        return None
    points = []
    reference = _of_reference(name, measured)
    for dtype, parity in found.items():
        quality = reference if dtype == _FP32 else measured[dtype].get(name)
        if quality is None:
            continue
        count = contents.manifest.variants[dtype].bytes
        told = f"{dtype}: {size(count)}, {figure(name).label} {written(name, quality)}"
        points.append(Point(dtype, count / 1e6, quality, told, parity.passed))
    if len(points) < 2:
        return None
    title = "Size and quality of the variants"
    return element("div", _plot("size", title, Axis("megabytes", number, from_zero=True), name, points), class_="plots")


def _qualities(parity: Parity) -> dict[str, float]:
    agreement = {} if parity.label_agreement is None else {"label_agreement": parity.label_agreement}
    return agreement | {name: value for name, value in parity.figures.items() if value is not None}


def _of_reference(name: str, measured: Mapping[str, Mapping[str, float]]) -> float:
    """The same figure of fp32, which is the reference: measured beside the others, or that of being the same."""
    own = f"reference_{name}"
    return next((figures[own] for figures in measured.values() if own in figures), 1.0)


def _plot(name: str, title: str, across: Axis, quality: str, points: Sequence[Point]) -> Markup:
    label = figure(quality).label
    upwards = Axis(label, lambda value: f"{100 * value:.4g} %" if figure(quality).is_share else f"{value:.5g}")
    return element(
        "figure",
        element("figcaption", element("strong", title), element("small", f"Upwards: {label}.")),
        scatter(f"plot-{name}", f"{title}; upwards: {label}", across, upwards, points),
    )


def _legend(*, candidates: bool) -> Markup:
    signs = [((True, False, False), "kept its bound"), ((False, False, False), "missed it")]
    if candidates:
        signs += [
            ((True, True, False), "on the Pareto front: no other is better in one thing and as good in the rest"),
            ((True, True, True), "chosen"),
        ]
    return element(
        "ul",
        *(element("li", mark(*sign), element("span", told)) for sign, told in signs),
        class_="legend",
    )


def _section(title: str, *children: Markup | None) -> Markup:
    return element("section", element("h2", title, id="choice"), *children, aria_labelledby="choice")
