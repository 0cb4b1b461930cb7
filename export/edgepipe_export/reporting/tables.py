"""The tables of a report: cells with exact values, from its contents. The template draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgepipe.bundle.manifest import Parity
from edgepipe_export.evaluation.metrics.confusion import Choice, Confusion
from edgepipe_export.reporting.contents import Contents
from edgepipe_export.reporting.formatting import (
    ABSENT,
    find_metric,
    format_input,
    format_number,
    format_option,
    format_result,
    format_share,
    format_size,
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What it reads.
        value: The exact number, for programs.
        note: A remark in small letters.
        is_code: Whether the text is a name from the graph.
        lead: What stands before it.
    """

    text: str
    value: float | None = None
    note: str = ""
    is_code: bool = False
    lead: str = ""

    @property
    def exact(self) -> str | None:
        """The value with all its digits; None where it is no number."""
        return None if self.value is None or not math.isfinite(self.value) else repr(self.value)


# What a cell holds: text, a `Cell`, lines of text, or whether a bound held (None: it was not measured).
Content = str | Cell | list[str] | bool | None


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table whose first column names each row.

    Attributes:
        caption: What it shows.
        headers: A header a column.
        rows: The content of a cell a column.
        text_columns: Headers of the columns that hold running text.
    """

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Content]]
    text_columns: Sequence[str] = ()


def number_cell(value: float | None) -> Cell:
    """A number."""
    return Cell(format_number(value), value)


def share_cell(value: float | None) -> Cell:
    """A share, in percent."""
    return Cell(format_share(value), value)


def size_cell(count: int) -> Cell:
    """A number of bytes."""
    return Cell(format_size(count), count)


def metric_cell(name: str, value: float | None) -> Cell:
    """A value of a metric."""
    return Cell(find_metric(name).format(value), value)


def tabulate_variants(contents: Contents) -> PageTable:
    """Size and parity, a row a variant."""
    headers = [
        "Variant", "Size", "Of fp32", "Compared with", "Agreement", "Largest difference of a tensor", "Of a score",
        "Bound", "Result",
    ]  # fmt: skip
    rows: list[list[Content]] = []
    for dtype, variant in contents.manifest.variants.items():
        name = Cell(dtype, note="default" if dtype == contents.manifest.default_dtype else "")
        parity = variant.parity
        if parity is None:
            measured: list[Content] = [*[ABSENT] * 5, None]
        else:
            measured = [
                f"{parity.reference}, {parity.measured_on}",
                share_cell(parity.label_agreement),
                number_cell(max(parity.max_abs_diff.values(), default=None)),
                number_cell(parity.max_score_diff),
                parity.bound,
                parity.passed,
            ]
        rows.append([name, size_cell(variant.bytes), share_cell(contents.ratio(dtype)), *measured])
    return PageTable("Size and parity of each variant", headers, rows, ["Compared with", "Bound"])


def tabulate_findings(contents: Contents) -> PageTable | None:
    """What an audit found; None where nothing is missing, or nobody looked."""
    rows: list[list[Content]] = [[Cell(part, is_code=True), problem] for part, problem in contents.findings]
    return PageTable("What is missing or wrong", ["Part", "Problem"], rows, ["Problem"]) if rows else None


def tabulate_metrics(contents: Contents) -> PageTable | None:
    """Every metric, a column a variant; None where nothing was measured."""
    measured = {dtype: collect_metrics(parity) for dtype, parity in contents.parities.items()}
    names = dict.fromkeys(name for metrics in measured.values() for name in metrics)
    rows: list[list[Content]] = [
        [find_metric(name).label, *(metric_cell(name, metrics.get(name)) for metrics in measured.values())]
        for name in names
    ]
    return PageTable("Figures of each variant", ["Figure", *measured], rows) if rows else None


def collect_metrics(parity: Parity) -> dict[str, float]:
    """All metrics of a variant, by name."""
    first = {"label_agreement": parity.label_agreement, "max_score_diff": parity.max_score_diff}
    return {name: value for name, value in (*first.items(), *parity.figures.items()) if value is not None}


def tabulate_tensors(contents: Contents) -> PageTable | None:
    """The largest difference of every tensor, a column a variant; None where nothing was measured."""
    parities = contents.parities
    names = dict.fromkeys(name for parity in parities.values() for name in parity.max_abs_diff)
    rows: list[list[Content]] = [
        [Cell(name, is_code=True), *(_difference_cell(parity.max_abs_diff.get(name)) for parity in parities.values())]
        for name in names
    ]
    caption = "Largest absolute difference of each tensor"
    return PageTable(caption, ["Tensor", *parities], rows) if rows else None


def _difference_cell(value: float | None) -> Cell:
    return number_cell(value) if value is None or math.isfinite(value) else Cell("cannot be compared")


def tabulate_checks(contents: Contents) -> PageTable | None:
    """Every comparison with the reference; None where the bundle has none."""
    headers = ["Variant", "Check", "Compared", "Largest difference", "Agreement", "Bound", "Result"]
    rows: list[list[Content]] = [
        [
            check.dtype,
            check.check,
            str(check.compared),
            number_cell(check.max_difference),
            share_cell(check.agreement),
            Cell(check.bound, note=check.detail or ""),
            check.passed,
        ]
        for measurements in contents.measurements.values()
        for check in measurements.checks
    ]
    return PageTable("Every comparison with the reference", headers, rows, ["Check", "Bound"]) if rows else None


def tabulate_confusions(confusions: Mapping[str, Confusion]) -> PageTable:
    """How often each label of the reference became which, a column a variant; first what became another."""
    counts = {dtype: {(one, other): count for one, other, count in each.counts} for dtype, each in confusions.items()}
    pairs = dict.fromkeys(pair for own in counts.values() for pair in own)
    ranked = sorted(pairs, key=lambda pair: (pair[0] == pair[1], -max(own.get(pair, 0) for own in counts.values())))
    rows: list[list[Content]] = [
        [one, other, *(_count_cell(own.get((one, other), 0)) for own in counts.values())] for one, other in ranked
    ]
    headers = ["Reference", "Variant", *confusions]
    return PageTable("Labels of the reference and of each variant", headers, rows, headers[:2])


def _count_cell(count: int) -> Cell:
    return Cell(str(count), count)


def tabulate_changes(dtype: str, confusion: Confusion, origin: str) -> PageTable:
    """The decisions that a variant makes otherwise; `origin` is where the inputs come from."""
    examples = confusion.examples
    has_places, has_gold = any(entry.place for entry in examples), any(entry.gold is not None for entry in examples)
    headers = ["Input", *(["Where"] if has_places else []), "Reference", dtype, *(["Right answer"] if has_gold else [])]
    rows: list[list[Content]] = [
        [
            format_input(entry.input, origin),
            *([entry.place] if has_places else []),
            _choice_cell(entry.reference),
            _choice_cell(entry.candidate),
            *([entry.gold or ABSENT] if has_gold else []),
        ]
        for entry in examples
    ]
    return PageTable(f"Decisions that {dtype} makes otherwise", headers, rows, headers)


def _choice_cell(choice: Choice) -> Cell:
    score = "" if choice.score is None else format_number(choice.score)
    return Cell(score, choice.score, lead=choice.label)


def tabulate_times(contents: Contents) -> PageTable | None:
    """Where the time of a request goes, a row a variant; None where it was not measured."""
    rows: list[list[Content]] = [
        [dtype, *map(number_cell, (time.tokenizer_ms, time.graph_ms, time.rest_ms, time.total_ms, time.spread_ms))]
        for dtype, time in contents.times.items()
    ]
    headers = ["Variant", "Tokenizer, ms", "Graph, ms", "Rest, ms", "Request, ms", "Spread, ms"]
    return PageTable("Milliseconds of a request", headers, rows) if rows else None


def tabulate_sensitivities(contents: Contents) -> dict[str, PageTable]:
    """What each layer costs, a table a variant."""
    tables = {}
    for dtype, measurements in contents.measurements.items():
        if not measurements.sensitivities:
            continue
        raised = contents.raised_layers(dtype)
        rows: list[list[Content]] = [
            [
                entry.label,
                number_cell(entry.cost),
                f"{entry.size:,}".replace(",", "\u202f"),
                f"raised to {raised[entry.layer]}" if entry.layer in raised else dtype,
            ]
            for entry in measurements.sensitivities
        ]
        headers = ["Layer", "Cost", "Numbers", "Precision"]
        tables[dtype] = PageTable(f"Cost of each layer in {dtype}", headers, rows, ["Precision"])
    return tables


def tabulate_disagreements(contents: Contents) -> dict[str, PageTable]:
    """The inputs whose results are farthest from the reference's, a table a variant."""
    tables = {}
    for dtype, measurements in contents.measurements.items():
        if not measurements.worst:
            continue
        has_results = any(entry.reference is not None or entry.candidate is not None for entry in measurements.worst)
        headers = ["Input", *(["Reference", dtype] if has_results else []), "Difference"]
        rows: list[list[Content]] = []
        for entry in measurements.worst:
            results = [format_result(entry.reference), format_result(entry.candidate)] if has_results else []
            text = "decides otherwise" if entry.difference > 1 else format_number(entry.difference)
            rows.append([format_input(entry.input, contents.origin), *results, Cell(text, entry.difference)])
        tables[dtype] = PageTable(f"Where {dtype} is farthest from its reference", headers, rows, headers[:-1])
    return tables


def tabulate_recipes(contents: Contents) -> PageTable:
    """The options of each variant, with the layers that a repair raised."""
    rows: list[list[Content]] = []
    for dtype, variant in contents.manifest.variants.items():
        options = {name: value for name, value in variant.recipe.items() if name not in ("name", "precisions")}
        layers = "; ".join(f"{layer} to {precision}" for layer, precision in contents.raised_layers(dtype).items())
        rows.append(
            [dtype, "; ".join(f"{name}: {format_option(value)}" for name, value in options.items()), layers or "none"]
        )
    headers = ["Variant", "Recipe", "Layers raised by a repair"]
    return PageTable("How each variant was made", headers, rows, headers[1:])
