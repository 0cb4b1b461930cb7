"""What a report shows, in order: the page, the Markdown and their tests read the same sections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgepipe_export.evaluation.metrics.confusion import Confusion
from edgepipe_export.evaluation.tolerances import ABSOLUTE
from edgepipe_export.reporting.contents import Contents
from edgepipe_export.reporting.formatting import format_share, format_size
from edgepipe_export.reporting.plots import ConfusionPlot, CostPlot, DifferencePlot, Plot, TimePlot
from edgepipe_export.reporting.tables import (
    PageTable,
    tabulate_changes,
    tabulate_checks,
    tabulate_confusions,
    tabulate_disagreements,
    tabulate_findings,
    tabulate_metrics,
    tabulate_recipes,
    tabulate_sensitivities,
    tabulate_tensors,
    tabulate_times,
    tabulate_variants,
)
from edgepipe_export.reporting.tradeoff import plot_tradeoff
from edgepipe_export.selection.latency import Latency, describe_latencies

_FP32 = "fp32"

# What a drawing has room for. Tables have all, but of counts only so many: hundreds of labels have thousands.
_MOST_LABELS, _MOST_TENSORS, _MOST_LAYERS, _MOST_COUNTS = 10, 32, 20, 150
_REST = "others"

# The label of tokens that are part of nothing.
_OUTSIDE = "O"

# Rows that are seen before a table is opened.
_FIRST_ROWS = 10


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a section.

    Attributes:
        heading: What it is about; empty where the section says it.
        text: A paragraph before it.
        plots: Drawings of the table.
        table: The table; what is drawn is opened by a click.
        summary: What is clicked to open the table; empty for one that is open.
    """

    heading: str = ""
    text: str = ""
    plots: tuple[Plot, ...] = ()
    table: PageTable | None = None
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report.

    Attributes:
        name: Its id in the page.
        title: Its heading.
        blocks: Its pieces.
        facts: Names and values, where it is a list of them.
    """

    name: str
    title: str
    blocks: tuple[Block, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


def summarize_contents(contents: Contents) -> list[str]:
    """What the bundle is, in a few sentences."""
    manifest = contents.manifest
    count = len(manifest.variants)
    sentences = [f"{'One variant' if count == 1 else f'{count} variants'} for {manifest.task}."]
    for dtype, variant in manifest.variants.items():
        if dtype == _FP32 or variant.parity is None:
            continue
        ratio, agreement = contents.ratio(dtype), variant.parity.label_agreement
        size = format_size(variant.bytes) if ratio is None else f"{format_share(ratio)} of fp32's size"
        same = "" if agreement is None else f", {format_share(agreement)} agreement"
        missed = "missed" if contents.verified else "missed, and written by force"
        bound = "held" if variant.parity.passed else missed
        sentences.append(f"{dtype}: {size}{same}, bound {bound}.")
    return sentences


def collect_sections(contents: Contents) -> list[Section]:
    """The sections that there are measurements for."""
    sections = [
        Section("findings", "Missing or wrong", _open_table(tabulate_findings(contents))),
        Section("variants", "Variants", (Block(table=tabulate_variants(contents)),)),
        Section("choice", "Candidates" if contents.candidates else "Size, latency and quality", _tradeoff(contents)),
        Section("figures", "Quality", _open_table(tabulate_metrics(contents))),
        Section("changes", "Changed decisions", tuple(_changes(contents))),
        Section("tensors", "Parity per tensor", _tensors(contents)),
        Section("time", "Where time goes", _times(contents)),
        Section("sensitivities", "Sensitivity of each layer", tuple(_sensitivities(contents))),
        Section("disagreements", "Largest disagreements", tuple(_disagreements(contents))),
        Section("checks", "Checks", _open_table(tabulate_checks(contents), "checks")),
        Section("recipes", "Recipes", (Block(table=tabulate_recipes(contents)),)),
    ]
    return [
        *(section for section in sections if section.blocks),
        Section("made", "What was made", facts=_facts(contents)),
    ]


def _open_table(table: PageTable | None, noun: str = "") -> tuple[Block, ...]:
    if table is None:
        return ()
    long = noun and len(table.rows) > _FIRST_ROWS
    return (Block(table=table, summary=f"{len(table.rows)} {noun}" if long else ""),)


def _tradeoff(contents: Contents) -> tuple[Block, ...]:
    found = plot_tradeoff(contents)
    if found is None:
        return ()
    plots, table = found
    return (Block(text=_describe_noise(contents), plots=tuple(plots), table=table, summary="All figures as a table"),)


def _describe_noise(contents: Contents) -> str:
    noise = contents.noise
    if not contents.candidates or noise is None:
        return ""
    noisy, spread, undecided = noise.get("noisy"), noise.get("spread"), noise.get("undecided")
    parts = ["The machine was noisy" if noisy else "The machine was quiet while latencies were measured"]
    if isinstance(spread, (int, float)):
        parts.append(f": the middle half of a candidate's rounds spans up to {format_share(spread)} of their median")
    if noisy and isinstance(undecided, list) and undecided:
        parts.append(f"; too noisy to tell which is the fastest of {', '.join(map(str, undecided))}")
    elif noisy:
        parts.append("; latencies that are close may be equal")
    return "".join([*parts, "."])


def _changes(contents: Contents) -> Iterator[Block]:
    measured = contents.measurements.items()
    confusions = {dtype: found.confusion for dtype, found in measured if found.confusion is not None}
    with_labels = {dtype: confusion for dtype, confusion in confusions.items() if confusion.counts}
    if with_labels:
        drawn = {dtype: confusion for dtype, confusion in with_labels.items() if confusion.changed}
        plots = (_plot_confusion(*entry, contents.manifest.labels) for entry in drawn.items())
        table = tabulate_confusions(with_labels)
        some = replace(table, rows=table.rows[:_MOST_COUNTS])
        said = "All counts" if len(some.rows) == len(table.rows) else f"{len(some.rows)} of {len(table.rows)} counts"
        yield Block(plots=tuple(plots), table=some, summary=f"{said} as a table")
    for dtype, confusion in confusions.items():
        yield Block(dtype, _describe_changes(dtype, confusion))
        if not confusion.examples:
            continue
        table = tabulate_changes(dtype, confusion, contents.origin)
        yield Block(table=replace(table, rows=table.rows[:_FIRST_ROWS]))
        if len(table.rows) > _FIRST_ROWS:
            rest = replace(
                table, caption=f"More {table.caption[0].lower()}{table.caption[1:]}", rows=table.rows[_FIRST_ROWS:]
            )
            yield Block(table=rest, summary=f"{len(rest.rows)} more")


def _describe_changes(dtype: str, confusion: Confusion) -> str:
    if not confusion.changed:
        return f"{dtype} makes all {confusion.decisions} decisions as its reference does."
    share = format_share(confusion.changed / confusion.decisions)
    sentences = [f"{dtype} makes {confusion.changed} of {confusion.decisions} decisions otherwise ({share})."]
    if confusion.negative_flips is not None:
        before, now = confusion.negative_flips, confusion.positive_flips or 0
        flips = f"{_count(before, 'was', 'were')} right before and {_count(now, 'is', 'are')} right now"
        sentences.append(f"Of these, {flips}.")
    if confusion.examples:
        count = len(confusion.examples)
        some = f"The {count} that both were surest of are listed." if count < confusion.changed else "All are listed."
        sentences.append(some)
    else:
        sentences.append("Their texts were not kept. To see them, export with --report (for_report=True in Python).")
    return " ".join(sentences)


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _plot_confusion(dtype: str, confusion: Confusion, order: Sequence[str]) -> ConfusionPlot:
    """The labels that change most, the others as one."""
    labels = dict.fromkeys(label for one, other, _ in confusion.counts for label in (one, other))
    changes: Counter[str] = Counter()
    for one, other, count in confusion.counts:
        if one != other:
            changes.update({one: count, other: count})
    known = {label: place for place, label in enumerate(order)}
    shown = sorted(labels, key=lambda label: -changes[label])
    if len(shown) > _MOST_LABELS:
        shown = shown[: _MOST_LABELS - 1]
    shown.sort(key=lambda label: known.get(label, len(known)))
    names = [*shown, *([_REST] if len(shown) < len(labels) else [])]
    counts = [[0] * len(names) for _ in names]
    for one, other, count in confusion.counts:
        row, column = (names.index(label if label in shown else _REST) for label in (one, other))
        if one != other and row == column:
            continue  # changes among the others are in the table
        counts[row][column] += count
    caption = f"Rows: what the reference decides. Columns: what {dtype} decides."
    if len(shown) < len(labels):
        caption += f" The {len(shown)} of {len(labels)} labels that change most."
    if _OUTSIDE in labels and not any(one == other == _OUTSIDE for one, other, _ in confusion.counts):
        caption += f" Tokens that both leave outside ({_OUTSIDE}) are not counted."
    described = (f"{one} became {other}: {count}" for one, other, count in confusion.counts if one != other)
    description = "; ".join(described) or "no label became another"
    return ConfusionPlot(
        f"Labels of the reference and of {dtype}",
        caption,
        description,
        tuple(names),
        tuple(map(tuple, counts)),
        ("reference", dtype),
    )


def _tensors(contents: Contents) -> tuple[Block, ...]:
    table = tabulate_tensors(contents)
    if table is None:
        return ()
    parities = contents.parities
    names = list(dict.fromkeys(name for parity in parities.values() for name in parity.max_abs_diff))
    largest = {name: max(parity.max_abs_diff.get(name, 0.0) for parity in parities.values()) for name in names}
    chosen = set(sorted(names, key=lambda name: -largest[name])[:_MOST_TENSORS])
    shown = tuple(name for name in names if name in chosen)
    differences = {dtype: [parity.max_abs_diff.get(name) for name in shown] for dtype, parity in parities.items()}
    rest = f" The {len(shown)} of {len(names)} tensors that differ most." if len(shown) < len(names) else ""
    described = (
        f"{dtype}: up to {max(v for v in values if v is not None):.2g}"
        for dtype, values in differences.items()
        if any(value is not None for value in values)
    )
    plot = DifferencePlot(
        "Largest absolute difference of each tensor",
        f"On a logarithmic scale; 0 is at the left end, what cannot be compared at the right.{rest}",
        "; ".join(described),
        shown,
        differences,
        (ABSOLUTE, "fp32's absolute bound") if _FP32 in parities else None,
    )
    references = "; ".join(f"{dtype} against {parity.reference}" for dtype, parity in parities.items())
    return (Block(text=f"{references}.", plots=(plot,), table=table, summary="All tensors as a table"),)


def _times(contents: Contents) -> tuple[Block, ...]:
    table = tabulate_times(contents)
    if table is None:
        text = "It was not measured. To measure it on the machine that exports, export with --report."
        return (Block(text=text),) if contents.measurements and not contents.verified else ()
    times = contents.times
    parts = {dtype: (time.tokenizer_ms, time.graph_ms, time.rest_ms) for dtype, time in times.items()}
    described = (
        f"{dtype}: tokenizer {time.tokenizer_ms:.3g} ms, graph {time.graph_ms:.3g} ms, rest {time.rest_ms:.3g} ms"
        for dtype, time in times.items()
    )
    text = (
        "One request at a time through the whole pipeline, at the lengths of the data, on the machine named below; "
        "medians. The rest is what Python does around tokenizer and graph: checks, arrays, the search for tokens, the "
        "result."
    )
    plot = TimePlot(
        "Milliseconds of a request", "", "; ".join(described), parts, ("tokenizer", "graph", "rest"),
    )  # fmt: skip
    return (Block(text=text, plots=(plot,), table=table, summary="All times as a table"),)


def _sensitivities(contents: Contents) -> Iterator[Block]:
    tables = tabulate_sensitivities(contents)
    if tables:
        yield Block(
            text="How much the outputs change when one layer alone has the variant's precision, all others fp32: root "
            "mean square difference, relative to the outputs' own root mean square. A repair raises those that cost "
            "most."
        )
    for dtype, table in tables.items():
        raised = contents.raised_layers(dtype)
        layers = contents.measurements[dtype].sensitivities
        first = layers[:_MOST_LAYERS]
        caption = f"The {len(first)} most costly of {len(layers)} layers." if len(first) < len(layers) else ""
        plot = CostPlot(
            f"Cost of each layer in {dtype}",
            caption,
            f"most costly: {first[0].label}",
            tuple(layer.label for layer in first),
            tuple(layer.cost for layer in first),
            tuple(layer.layer in raised for layer in first),
            (f"left in {dtype}", "raised by the repair"),
        )
        text = _describe_precision_times(contents.measurements[dtype].precision_times)
        yield Block(
            text=text, heading=dtype, plots=(plot,), table=table, summary=f"All {len(layers)} layers as a table"
        )


def _describe_precision_times(times: Mapping[str, Latency]) -> str:
    if not times:
        return ""
    return f"The repair weighed time: with all products in one precision an input takes {describe_latencies(times)}."


def _disagreements(contents: Contents) -> Iterator[Block]:
    for dtype, table in tabulate_disagreements(contents).items():
        yield Block(table=table, summary=f"{dtype}: {len(table.rows)} inputs")


def _facts(contents: Contents) -> tuple[tuple[str, str], ...]:
    manifest = contents.manifest
    labels = ", ".join(manifest.labels[:20]) + (" …" if len(manifest.labels) > 20 else "")
    longest = "none" if manifest.max_length is None else f"{manifest.max_length} tokens"
    facts: dict[str, Any] = {
        "Task": manifest.task,
        "Source": manifest.source.model,
        "Revision": manifest.source.revision or "none: a local directory or a model in memory",
        "Adapter for": manifest.source.base,
        "Architecture": manifest.source.architecture,
        "Labels": labels,
        "Longest input": f"{longest} ({manifest.max_length_source})",
        "Longest output": None if manifest.max_target_length is None else f"{manifest.max_target_length} tokens",
        "Measured on": _describe_data(contents.calibration),
        "Machine": manifest.machine or "not known",
        "Made with": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    }
    return tuple((name, str(value)) for name, value in facts.items() if value)


def _describe_data(calibration: Mapping[str, Any] | None) -> str:
    if calibration is None:
        return "the manifest does not tell"
    answers = "with" if calibration.get("gold") else "without"
    text = f"{calibration.get('inputs')} inputs, {calibration.get('origin')}, {answers} the right answers"
    if calibration.get("calibrated"):
        seen = "all" if calibration.get("seen") else "none"
        text += f"; calibrated with {calibration['calibrated']}, {seen} of them among these"
    return text
