"""The parts of a report, each from its contents to markup; None where there is nothing to show."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgepipe.bundle.manifest import Parity
from edgepipe_export.reporting.contents import Contents
from edgepipe_export.reporting.markup import Markup, element, joined
from edgepipe_export.reporting.results import told
from edgepipe_export.reporting.tables import facts, table
from edgepipe_export.reporting.wording import ABSENT, datum, figure, number, share, size, written

# Longer tables open when asked.
_SHORT = 16


def made(contents: Contents) -> Markup:
    """What was made, of what, with what and where."""
    manifest = contents.manifest
    source = manifest.source
    limit = "none" if manifest.max_length is None else f"{manifest.max_length} tokens"
    target = () if manifest.max_target_length is None else (("Longest output", f"{manifest.max_target_length} tokens"),)
    labels = ", ".join(manifest.labels[:20]) + (" …" if len(manifest.labels) > 20 else "")
    return _section(
        "made",
        "What was made",
        facts(
            [
                ("Task", manifest.task),
                ("Source", source.model),
                ("Revision", source.revision or "none: a local directory or a model in memory"),
                ("Architecture", source.architecture),
                *((("Labels", labels),) if labels else ()),
                ("Longest input", f"{limit} ({manifest.max_length_source})"),
                *target,
                ("Measured on", _measured_on(contents)),
                ("Machine", manifest.machine),
                ("Made with", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
            ]
        ),
    )


def _measured_on(contents: Contents) -> str:
    calibration = contents.calibration
    if calibration is None:
        return "the manifest does not tell"
    gold = "with" if calibration.get("gold") else "without"
    told = f"{calibration.get('inputs')} inputs, {calibration.get('origin')}, {gold} the right answers"
    if not calibration.get("calibrated"):
        return told
    among = "all of them among these" if calibration.get("seen") else "none of them among these"
    return f"{told}; calibrated with {calibration['calibrated']}, {among}"


def variants(contents: Contents) -> Markup:
    """The variants side by side."""
    headers = [
        "Variant", "Size", "Of fp32", "Compared with", "Agreement", "Largest difference of a tensor", "Of a score",
        "Bound", "Result",
    ]  # fmt: skip
    rows = []
    for dtype, variant in contents.manifest.variants.items():
        name = joined(dtype, element("small", " default") if dtype == contents.manifest.default_dtype else None)
        ratio = contents.ratio(dtype)
        row: list[str] = [name, datum(size(variant.bytes), variant.bytes), datum(share(ratio), ratio)]
        parity = variant.parity
        if parity is None:
            rows.append([*row, *[ABSENT] * 5, verdict(None)])
            continue
        difference = max(parity.max_abs_diff.values(), default=None)
        rows.append(
            [
                *row,
                f"{parity.reference}, {parity.told_texts}",
                datum(share(parity.label_agreement), parity.label_agreement),
                datum(number(difference), difference),
                datum(number(parity.max_score_diff), parity.max_score_diff),
                parity.bound,
                verdict(parity.passed),
            ]
        )
    return _section(
        "variants",
        "Variants",
        table("Size and parity of each variant", headers, rows, texts=["Compared with", "Bound"]),
    )


def verdict(passed: bool | None) -> Markup:
    """Whether a bound held, by a sign, a colour and a word."""
    if passed is None:
        return element("span", "not measured", class_="unknown")
    return element("span", "✓ held" if passed else "✗ missed", class_="held" if passed else "missed")


def figures(contents: Contents) -> Markup | None:
    """Every figure of every variant, a row each."""
    found = _parities(contents)
    rows: dict[str, dict[str, float]] = {}
    for dtype, parity in found.items():
        for name, value in _all_figures(parity).items():
            rows.setdefault(name, {})[dtype] = value
    if not rows:
        return None
    cells = [
        [figure(name).label, *(datum(written(name, row.get(dtype)), row.get(dtype)) for dtype in found)]
        for name, row in rows.items()
    ]
    return _section("figures", "Quality", table("Figures of each variant", ["Figure", *found], cells))


def _all_figures(parity: Parity) -> dict[str, float]:
    decided = {"label_agreement": parity.label_agreement, "max_score_diff": parity.max_score_diff}
    return {name: value for name, value in (*decided.items(), *parity.figures.items()) if value is not None}


def tensors(contents: Contents) -> Markup | None:
    """The largest difference of every tensor."""
    found = _parities(contents)
    names = dict.fromkeys(name for parity in found.values() for name in parity.max_abs_diff)
    if not names:
        return None
    rows = [
        [
            element("code", name),
            *(
                datum(_difference(parity.max_abs_diff, name), parity.max_abs_diff.get(name))
                for parity in found.values()
            ),
        ]
        for name in names
    ]
    references = "; ".join(f"{dtype} against {parity.reference}" for dtype, parity in found.items())
    shown = table("Largest absolute difference of each tensor", ["Tensor", *found], rows)
    return _section("tensors", "Parity per tensor", element("p", f"{references}."), _folded(shown, rows, "tensors"))


def _difference(differences: Mapping[str, float], name: str) -> str:
    if name not in differences:
        return ABSENT
    value = differences[name]
    return number(value) if math.isfinite(value) else "cannot be compared"


def checks(contents: Contents) -> Markup | None:
    """Every comparison that was made."""
    rows = [
        [
            check.dtype,
            check.check,
            str(check.compared),
            datum(number(check.max_difference), check.max_difference),
            datum(share(check.agreement), check.agreement),
            joined(check.bound, element("small", f" {check.detail}") if check.detail else None),
            verdict(check.passed),
        ]
        for measured in contents.measurements.values()
        for check in measured.checks
    ]
    if not rows:
        return None
    headers = ["Variant", "Check", "Compared", "Largest difference", "Agreement", "Bound", "Result"]
    shown = table("Every comparison with the reference", headers, rows, texts=["Check", "Bound"])
    return _section("checks", "Checks", _folded(shown, rows, "checks"))


def sensitivities(contents: Contents) -> Markup | None:
    """What each layer of each variant costs, as bars."""
    parts = []
    for dtype, measured in contents.measurements.items():
        if not measured.sensitivities:
            continue
        raised = contents.raised(dtype)
        most = max(entry.cost for entry in measured.sensitivities)
        rows = [
            [
                entry.label,
                _bar(entry.cost, most),
                f"{entry.size:,}".replace(",", "\u202f"),
                f"raised to {raised[entry.layer]}" if entry.layer in raised else dtype,
            ]
            for entry in measured.sensitivities
        ]
        shown = table(f"Cost of each layer in {dtype}", ["Layer", "Cost", "Numbers", "Precision"], rows, texts=["Cost"])
        parts += [element("h3", dtype), _folded(shown, rows, "layers")]
    if not parts:
        return None
    lead = (
        "How much the outputs change when one layer alone has the variant's precision, all others fp32: root mean "
        "square difference, relative to the outputs' own root mean square. A repair raises those that cost most."
    )
    return _section("sensitivities", "Sensitivity of each layer", element("p", lead), *parts)


def _bar(cost: float, most: float) -> Markup:
    width = 0.0 if not most or not math.isfinite(cost / most) else max(0.0, 100 * cost / most)
    drawing = element(
        "svg",
        element("rect", width=round(width, 2), height=10, class_="bar"),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        class_="bars",
        aria_hidden="true",
    )
    return joined(drawing, datum(number(cost), cost))


def disagreements(contents: Contents) -> Markup | None:
    """The inputs whose results are farthest from the reference's."""
    parts = []
    for dtype, measured in contents.measurements.items():
        if not measured.worst:
            continue
        answered = any(entry.reference is not None or entry.candidate is not None for entry in measured.worst)
        headers = ["Input", *(["Reference", dtype] if answered else []), "Difference"]
        rows = []
        for entry in measured.worst:
            answers = [told(entry.reference), told(entry.candidate)] if answered else []
            decided = "decides otherwise" if entry.difference > 1 else number(entry.difference)
            rows.append([told(entry.input), *answers, datum(decided, entry.difference)])
        parts += [
            element("h3", dtype),
            table(f"Where {dtype} is farthest from its reference", headers, rows, texts=headers[:-1]),
        ]
    return _section("disagreements", "Largest disagreements", *parts) if parts else None


def recipes(contents: Contents) -> Markup:
    """How each variant was made, with the layers that a repair raised."""
    rows = []
    for dtype, variant in contents.manifest.variants.items():
        options = {name: value for name, value in variant.recipe.items() if name not in ("name", "precisions")}
        raised = contents.raised(dtype)
        layers = "; ".join(f"{layer} to {precision}" for layer, precision in raised.items())
        rows.append(
            [dtype, "; ".join(f"{name}: {_option(value)}" for name, value in options.items()), layers or "none"]
        )
    headers = ["Variant", "Recipe", "Layers raised by a repair"]
    return _section("recipes", "Recipes", table("How each variant was made", headers, rows, texts=headers[1:]))


def _option(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _parities(contents: Contents) -> dict[str, Parity]:
    return {
        dtype: variant.parity for dtype, variant in contents.manifest.variants.items() if variant.parity is not None
    }


def _folded(shown: Markup, rows: Sequence[Sequence[str]], what: str) -> Markup:
    if len(rows) <= _SHORT:
        return shown
    return element("details", element("summary", f"{len(rows)} {what}"), shown)


def _section(name: str, title: str, *children: str | None) -> Markup:
    return element("section", element("h2", title, id=name), *children, aria_labelledby=name)
