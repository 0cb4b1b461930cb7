"""Choosing among variants: by made-up measurements, and once for real."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Bundle
from edgepipe.errors import InputError
from edgepipe_export import export, report
from edgepipe_export.calibration.split import spread_by_length
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.quantization.target import Target
from edgepipe_export.reporting.contents import read_contents
from edgepipe_export.selection.choose import Candidate, choose, list_candidates, tabulate, undecided
from tests.hostile import inject_outliers
from tests.tiny import build


def candidate(
    dtype: str, size: int, latency: float, distance: float, *, passed: bool = True, spread: float = 0.01
) -> Candidate:
    return Candidate(dtype, size, latency, spread, distance, passed, {})


MEASURED = (
    candidate("fp32", 100, 10.0, 0.0),
    candidate("int8", 27, 4.0, 0.2),
    candidate("w8", 28, 6.0, 0.02),
    candidate("q4", 17, 6.5, 0.5),
    candidate("int8-static", 26, 3.0, 0.9, passed=False),
)


@pytest.mark.parametrize(("prefer", "expected"), [("speed", "int8"), ("size", "q4"), ("quality", "w8")])
def test_the_best_that_passed(prefer: str, expected: str) -> None:
    assert {choose(order, prefer).dtype for order in itertools.permutations(MEASURED)} == {expected}


def test_of_those_as_fast_the_smallest() -> None:
    near = (candidate("int8", 27, 4.0, 0.2), candidate("q4", 17, 4.1, 0.5), candidate("w8", 15, 4.5, 0.1))
    assert choose(near, "speed").dtype == "q4"
    noisy = (candidate("int8", 27, 4.0, 0.2, spread=0.3), *near[1:])
    assert choose(noisy, "speed").dtype == "w8"


def test_noise_does_not_choose() -> None:
    """Of those that the rounds do not tell apart the smallest is taken, whichever happened to be the fastest."""
    for latencies in itertools.permutations((4.0, 4.5, 5.0)):
        sizes = {"int8": 27, "q4": 17, "w8": 15}
        noisy = [
            candidate(dtype, size, latency, 0.2, spread=0.5)
            for (dtype, size), latency in zip(sizes.items(), latencies, strict=True)
        ]
        far = [candidate("fp32", 9, 10.0, 0.0, spread=0.4), candidate("int8-static", 1, 4.0, 0.1, passed=False)]
        assert choose([*noisy, *far], "speed").dtype == "w8"
        assert undecided([*noisy, *far], "speed") == ("int8", "q4", "w8")
        assert undecided(noisy, "size") == undecided(noisy, "quality") == ()


@pytest.mark.parametrize(
    ("spreads", "open_yet"),
    [
        ((0.01, 0.01), ()),  # quiet
        ((0.01, 0.9), ("int8", "w8")),
        ((0.9, 0.01), ("int8", "w8")),
        ((0.2, 0.2), ()),  # noisy, but far apart
    ],
)
def test_what_noise_leaves_open(spreads: tuple[float, float], open_yet: tuple[str, ...]) -> None:
    measured = (
        candidate("int8", 27, 4.0, 0.2, spread=spreads[0]),
        candidate("w8", 15, 5.5, 0.1, spread=spreads[1]),
        candidate("fp32", 100, 40.0, 0.0, spread=0.5),
    )
    assert undecided(measured, "speed") == open_yet


@pytest.mark.parametrize("prefer", ["speed", "size", "quality"])
def test_fp32_where_nothing_else_passed(prefer: str) -> None:
    assert choose((MEASURED[0], MEASURED[4]), prefer).dtype == "fp32"


def test_the_table_marks_what_nothing_beats() -> None:
    rows = tabulate((*MEASURED[:4], candidate("fp16", 100, 11.0, 0.1)), MEASURED[1])
    assert [row["dtype"] for row in rows if not row["pareto"]] == ["fp16"]
    assert [row["dtype"] for row in rows if row["chosen"]] == ["int8"]


def test_candidates_suit_the_task() -> None:
    assert list_candidates(Target("vnni"), generates=False)[0] == "fp32"
    assert "int8-static" in list_candidates(Target("arm64"), generates=False)
    assert "int8-static" not in list_candidates(Target("arm64"), generates=True)
    assert "fp16" not in list_candidates(Target("vnni"), generates=True)


def test_lengths_are_spread_as_all_are() -> None:
    items = list(range(100, 0, -1))
    assert spread_by_length(items, lambda item: item) == [7, 19, 32, 44, 57, 69, 82, 94]
    assert spread_by_length([3, 1], lambda item: item) == [1, 3]


def test_auto_writes_one_and_says_what_it_measured(tmp_path: Path) -> None:
    model, tokenizer = build("bert", labels=("bad", "fair", "good"))
    options: dict[str, Any] = {"prefer": "size", "max_drop": 30, "for_report": True}
    bundle: Bundle = export(model, tmp_path / "out", tokenizer=tokenizer, dtypes="auto", **options)
    manifest: Any = bundle.manifest
    rows = {row["dtype"]: row for row in manifest.candidates}
    assert rows.keys() == {"fp32", "int8", "int8-rows", "int8-static", "w8", "q4"}
    (chosen,) = bundle.dtypes
    assert [dtype for dtype, row in rows.items() if row["chosen"]] == [chosen]
    assert rows[chosen]["bytes"] == min(row["bytes"] for row in rows.values() if row["passed"])
    assert rows[chosen]["bytes"] == manifest.variants[chosen].bytes
    assert all(row["latency_ms"] > 0 for row in rows.values())
    assert len(bundle.check()) > 0
    assert list(bundle.config["transformers.js_config"]["use_external_data_format"]) == [bundle.graph(chosen).name]
    measured = read_contents(bundle).measurements
    assert [dtype for dtype, found in measured.items() if found.time is not None] == [chosen]


def test_a_report_shows_candidates_that_were_repaired_and_not_chosen(tmp_path: Path) -> None:
    model, tokenizer = build("bert", labels=("bad", "fair", "good"))
    inject_outliers(model, (3, 8), 300.0)
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(sentences()[:20]), encoding="utf-8")
    options: dict[str, Any] = {"prefer": "size", "max_drop": 8, "for_report": True, "calibration": texts}
    bundle = export(model, tmp_path / "out", tokenizer=tokenizer, dtypes="auto", **options)
    measured = read_contents(bundle).measurements
    repaired = {dtype: found.precisions for dtype, found in measured.items() if found.sensitivities}
    [*others] = repaired.keys() - set(bundle.dtypes)
    assert others
    assert all(repaired.values())
    page = report(bundle, tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(f"Cost of each layer in {dtype}" in page for dtype in others)
    assert "raised to" in page


def test_what_cannot_be_chosen(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave verify=False"):
        export(checkpoint, tmp_path / "out", dtypes="auto", verify=False)
    with pytest.raises(InputError, match="prefer must be one of speed, size, quality"):
        export(checkpoint, tmp_path / "out", prefer="beauty")


def test_what_the_target_does_not_run_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^int8 is not for the target cuda, which runs fp32, w8, q4, .*fp16$"):
        export(tmp_path / "no checkpoint", tmp_path / "out", dtypes="w8,int8", target="cuda")
