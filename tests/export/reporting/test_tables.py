"""Tables of a report: cells with the exact values of the contents."""

from __future__ import annotations

import math
from dataclasses import replace

from edgepipe_export.evaluation.checks import Disagreement
from edgepipe_export.reporting.contents import Contents, Measurements
from edgepipe_export.reporting.tables import (
    Cell,
    PageTable,
    number_cell,
    tabulate_changes,
    tabulate_checks,
    tabulate_confusions,
    tabulate_disagreements,
    tabulate_metrics,
    tabulate_recipes,
    tabulate_sensitivities,
    tabulate_tensors,
    tabulate_times,
    tabulate_variants,
)
from edgepipe_export.selection.measurements import Sensitivity
from tests.export.reporting.conftest import EXAMPLE, PARITIES


def values(table: PageTable | None, column: str) -> list[float | None]:
    """The exact values of a column."""
    assert table is not None
    number = list(table.headers).index(column)
    assert all(len(row) == len(table.headers) for row in table.rows)
    return [cell.value if isinstance(cell := row[number], Cell) else None for row in table.rows]


def test_a_cell_has_all_digits_of_its_value() -> None:
    assert number_cell(1 / 3).exact == repr(1 / 3)
    assert (number_cell(math.inf).exact, number_cell(None).exact) == (None, None)


def test_variants_without_measures_say_so(bare: Contents, contents: Contents) -> None:
    assert [row[-1] for row in tabulate_variants(bare).rows] == [None] * 3
    table = tabulate_variants(contents)
    assert [row[-1] for row in table.rows] == [parity.passed for parity in PARITIES.values()]
    assert values(table, "Agreement") == [parity.label_agreement for parity in PARITIES.values()]
    assert values(table, "Largest difference of a tensor") == [
        max(parity.max_abs_diff.values()) for parity in PARITIES.values()
    ]


def test_metrics_have_a_column_a_variant(contents: Contents) -> None:
    table = tabulate_metrics(contents)
    assert values(table, "int8") == [0.9, 0.25, 0.875, 0.9375]
    assert values(table, "fp32")[2:] == [None, None]


def test_tensors_that_cannot_be_compared(contents: Contents) -> None:
    assert values(tabulate_tensors(contents), "int8") == [0.5, None]
    parities = {"fp32": PARITIES["fp32"], "int8": replace(PARITIES["int8"], max_abs_diff={"logits": math.inf})}
    variants = {dtype: replace(contents.manifest.variants[dtype], parity=parity) for dtype, parity in parities.items()}
    table = tabulate_tensors(replace(contents, manifest=replace(contents.manifest, variants=variants)))
    assert table is not None
    assert table.rows[0][2] == Cell("cannot be compared")


def test_confusions_stand_beside_each_other_changes_first(contents: Contents) -> None:
    confusions = {
        dtype: found.confusion for dtype, found in contents.measurements.items() if found.confusion is not None
    }
    table = tabulate_confusions(confusions)
    assert [row[:2] for row in table.rows] == [["good", "bad"], ["good", "good"], ["bad", "bad"]]
    assert (values(table, "int8"), values(table, "w8")) == ([12, 88, 0], [0, 88, 12])


def test_changes_have_the_columns_that_they_need(contents: Contents) -> None:
    confusion = contents.measurements["int8"].confusion
    assert confusion is not None
    table = tabulate_changes("int8", confusion, "dev.tsv")
    assert list(table.headers) == ["Input", "Reference", "int8", "Right answer"]
    assert table.rows[0] == [["a text"], Cell("0.75", 0.75, lead="good"), Cell("0.5", 0.5, lead="bad"), "good"]
    odd = replace(EXAMPLE, input={"number": 17}, place="a word", gold=None)
    table = tabulate_changes("int8", replace(confusion, examples=(odd,)), "dev.tsv")
    assert list(table.headers) == ["Input", "Where", "Reference", "int8"]
    assert table.rows[0][:2] == [["input 17 of dev.tsv"], "a word"]


def test_times_are_parts_and_their_sum(contents: Contents, bare: Contents) -> None:
    table = tabulate_times(contents)
    parts = [values(table, name) for name in ("Tokenizer, ms", "Graph, ms", "Rest, ms")]
    assert [sum(filter(None, row)) for row in zip(*parts, strict=True)] == values(table, "Request, ms")
    assert tabulate_times(bare) is None


def test_layers_say_whether_they_were_raised(contents: Contents) -> None:
    variants = dict(contents.manifest.variants)
    variants["int8"] = replace(variants["int8"], recipe={"precisions": {"/a": "w8"}})
    layers = (Sensitivity("/a", "a", 1234, 0.5), Sensitivity("/b", "b", 10, math.inf))
    found = replace(
        contents,
        manifest=replace(contents.manifest, variants=variants),
        measurements={"int8": Measurements(sensitivities=layers)},
    )
    table = tabulate_sensitivities(found)["int8"]
    assert [row[-1] for row in table.rows] == ["raised to w8", "int8"]
    assert values(table, "Cost") == [0.5, math.inf]
    assert tabulate_recipes(found).rows[1][2] == "/a to w8"


def test_disagreements_without_results_have_no_columns_for_them(contents: Contents) -> None:
    worst = (Disagreement("a", None, None, 0.5), Disagreement({"number": 3}, None, None, 1.5))
    table = tabulate_disagreements(replace(contents, measurements={"int8": Measurements(worst=worst)}))["int8"]
    assert list(table.headers) == ["Input", "Difference"]
    assert [row[0] for row in table.rows] == [["a"], ["input 3 of the data"]]
    assert [cell.text for row in table.rows if isinstance(cell := row[1], Cell)] == ["0.5", "decides otherwise"]


def test_nothing_measured_is_no_table(bare: Contents) -> None:
    assert [tabulate(bare) for tabulate in (tabulate_metrics, tabulate_tensors, tabulate_checks)] == [None] * 3
    assert (tabulate_disagreements(bare), tabulate_sensitivities(bare)) == ({}, {})
