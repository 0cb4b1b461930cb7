"""The sections of a report: what there are measurements for, and no more in a plot than it has room for."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from edgepipe_export.evaluation.metrics.confusion import Confusion
from edgepipe_export.reporting.contents import Contents, Measurements
from edgepipe_export.reporting.plots import ConfusionPlot, CostPlot, DifferencePlot, TimePlot
from edgepipe_export.reporting.sections import Block, Section, collect_sections, summarize_contents
from edgepipe_export.selection.latency import Latency
from edgepipe_export.selection.measurements import Sensitivity
from tests.export.reporting.conftest import EXAMPLE, PARITIES
from tests.export.reporting.test_tradeoff import CANDIDATES


def sections(contents: Contents) -> dict[str, Section]:
    return {section.name: section for section in collect_sections(contents)}


def blocks(contents: Contents, name: str) -> tuple[Block, ...]:
    return sections(contents)[name].blocks


def test_a_bundle_without_measures_has_what_is_known(bare: Contents) -> None:
    assert list(sections(bare)) == ["variants", "recipes", "made"]
    assert summarize_contents(bare) == ["3 variants for text-classification."]


def test_all_that_was_measured_is_there(contents: Contents) -> None:
    found = sections(contents)
    assert list(found) == ["variants", "choice", "figures", "changes", "tensors", "time", "recipes", "made"]
    assert all(section.blocks or section.facts for section in found.values())
    for section in found.values():
        for block in section.blocks:
            assert not block.plots or (block.table is not None and block.summary)
    [start, int8, w8] = summarize_contents(contents)
    assert start == "3 variants for text-classification."
    assert int8.endswith("90.00 % agreement, bound missed, and written by force.")
    assert w8.endswith("100.00 % agreement, bound held.")


def test_what_changed_is_said_and_drawn(contents: Contents) -> None:
    drawn, int8, first, rest, w8 = blocks(contents, "changes")
    [plot] = drawn.plots  # w8 changed nothing
    assert isinstance(plot, ConfusionPlot)
    assert (plot.labels, plot.counts) == (("bad", "good"), ((0, 0), (12, 88)))  # in the order of the model's labels
    assert int8.text == (
        "int8 makes 12 of 100 decisions otherwise (12.00 %). Of these, 10 were right before and 1 is right now. "
        "All are listed."
    )
    assert first.table is not None
    assert rest.table is not None
    assert (len(first.table.rows), len(rest.table.rows), rest.summary) == (10, 2, "2 more")
    assert w8.text == "w8 makes all 100 decisions as its reference does."


def test_texts_that_were_not_kept_can_be_had(contents: Contents) -> None:
    spans = Confusion(10, 2)
    [block] = blocks(replace(contents, measurements={"int8": Measurements(confusion=spans)}), "changes")
    assert block.text.endswith(
        "Their texts were not kept. To see them, export with --report (for_report=True in Python)."
    )
    some = Confusion(100, 60, examples=(EXAMPLE,) * 50)
    text = blocks(replace(contents, measurements={"int8": Measurements(confusion=some)}), "changes")[0].text
    assert text.endswith("The 50 that both were surest of are listed.")


def test_many_labels_become_those_that_change_most(contents: Contents) -> None:
    names = [f"label {number}" for number in range(30)]
    counts = [(name, name, 10) for name in names]
    counts += [(names[number], names[-1], number) for number in range(1, 29)]
    confusion = Confusion(1000, 406, tuple(counts))
    drawn = blocks(replace(contents, measurements={"int8": Measurements(confusion=confusion)}), "changes")[0]
    [plot] = drawn.plots
    assert isinstance(plot, ConfusionPlot)
    assert (set(plot.labels), plot.labels[-1]) == ({*names[21:], "others"}, "others")
    assert sum(map(sum, plot.counts)) == sum(count for _, _, count in counts)
    assert drawn.table is not None
    assert len(drawn.table.rows) == len(counts)
    assert "The 9 of 30 labels that change most." in plot.caption


@pytest.mark.parametrize("both", [True, False])
def test_tokens_outside_are_not_counted(contents: Contents, both: bool) -> None:
    counts = (("O", "B-PER", 3), ("B-PER", "B-PER", 7), *([("O", "O", 5)] if both else []))
    found = replace(contents, measurements={"int8": Measurements(confusion=Confusion(15, 3, counts))})
    caption = blocks(found, "changes")[0].plots[0].caption
    assert ("are not counted" in caption) != both


def test_thousands_of_counts_are_not_all_listed(contents: Contents) -> None:
    counts = tuple((f"{one}", f"{other}", one + 1) for one in range(20) for other in range(20))
    confusion = Confusion(4200, 4000, counts)
    drawn = blocks(replace(contents, measurements={"int8": Measurements(confusion=confusion)}), "changes")[0]
    assert drawn.summary == "150 of 400 counts as a table"
    assert drawn.table is not None
    assert len(drawn.table.rows) == 150


def test_tensors_that_differ_most_are_drawn(contents: Contents) -> None:
    differences = {f"hidden_states.{number}": number / 100 for number in range(40)}
    parity = replace(PARITIES["int8"], max_abs_diff=differences)
    variants = {"int8": replace(contents.manifest.variants["int8"], parity=parity)}
    manifest = replace(contents.manifest, variants=variants, default_dtype="int8")
    [block] = blocks(replace(contents, manifest=manifest), "tensors")
    [plot] = block.plots
    assert isinstance(plot, DifferencePlot)
    assert plot.tensors == tuple(differences)[8:]
    assert plot.differences == {"int8": [differences[name] for name in plot.tensors]}
    assert plot.bound is None
    assert block.table is not None
    assert len(block.table.rows) == len(differences)


def test_times_are_drawn_or_can_be_had(contents: Contents) -> None:
    [block] = blocks(contents, "time")
    [plot] = block.plots
    assert isinstance(plot, TimePlot)
    assert plot.times == {"fp32": (1, 6.5, 0.5), "int8": (1, 2.5, 0.5), "w8": (1, 4.5, 0.5)}
    [block] = blocks(replace(contents, measurements={"int8": Measurements()}), "time")
    assert block.text.endswith("export with --report.")
    assert "time" not in sections(replace(contents, measurements={"int8": Measurements()}, verified=True))


def test_the_most_costly_layers_are_drawn(contents: Contents) -> None:
    layers = tuple(Sensitivity(f"/{number}", f"layer {number}", 10, math.inf) for number in range(25))
    found = blocks(replace(contents, measurements={"int8": Measurements(sensitivities=layers)}), "sensitivities")
    [plot] = found[1].plots
    assert isinstance(plot, CostPlot)
    assert plot.layers == tuple(layer.label for layer in layers[:20])
    assert found[1].summary == "All 25 layers as a table"
    assert found[1].text == ""


def test_what_a_repair_weighed_is_said(contents: Contents) -> None:
    times = {"int8": Latency(4.0, 0.1), "w8": Latency(8.126, 0.1), "fp32": Latency(7.0, 0.1)}
    measured = Measurements(sensitivities=(Sensitivity("/0", "a layer", 10, 0.5),), precision_times=times)
    said = blocks(replace(contents, measurements={"int8": measured}), "sensitivities")[1].text
    assert said.endswith("an input takes 4 ms in int8, 8.13 ms in w8, 7 ms in fp32.")


CLOSE = "The machine was noisy; latencies that are close may be equal."


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        (None, ""),
        (
            {"noisy": False, "spread": 0.02},
            "The machine was quiet while latencies were measured: the middle half of a candidate's rounds spans up to "
            "2.00 % of their median.",
        ),
        ({"noisy": True, "spread": None, "undecided": []}, CLOSE),
        (
            {"noisy": True, "undecided": ["int8"]},
            "The machine was noisy; too noisy to tell which is the fastest of int8.",
        ),
        ({"noisy": True, "undecided": "odd"}, CLOSE),
    ],
)
def test_what_the_noise_means(contents: Contents, noise: dict[str, object] | None, said: str) -> None:
    [block] = blocks(replace(contents, candidates=CANDIDATES, noise=noise), "choice")
    assert block.text == said


def test_facts_leave_out_what_is_not_known(contents: Contents) -> None:
    facts = dict(sections(contents)["made"].facts)
    assert facts["Measured on"] == "the manifest does not tell"
    assert "Longest output" not in facts
    data = {"origin": "dev.tsv", "inputs": 100, "gold": True, "calibrated": 64, "seen": 0}
    facts = dict(sections(replace(contents, calibration=data))["made"].facts)
    assert (
        facts["Measured on"]
        == "100 inputs, dev.tsv, with the right answers; calibrated with 64, none of them among these"
    )
