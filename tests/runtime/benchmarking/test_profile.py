"""Structure and units of a profile; what the figures are is the machine's business."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgepipe.benchmarking.profile import ProfileReport, profile
from edgepipe.errors import InputError
from edgepipe.factory import embedded_bundle
from tests.runtime.small_bundle import write_bundle

# Nobody has measured the embedded variant on OpenVINO.
pytestmark = pytest.mark.filterwarnings("ignore:.*nobody has measured")

WRITER = Path(__file__).parents[2] / "data" / "foreign_writers" / "decoder"


@pytest.fixture(scope="module", params=["cpu", "openvino"])
def report(request: pytest.FixtureRequest) -> ProfileReport:
    steps: list[tuple[str, int, int]] = []
    found = profile(
        embedded_bundle(),
        batch_sizes=(1, 2),
        lengths=(8,),
        device=request.param,
        progress=lambda *step: steps.append(step),
    )
    assert [(done, total) for _, done, total in steps] == [(number, 4) for number in range(4)]
    return found


def test_every_batch_has_its_parts(report: ProfileReport) -> None:
    assert [(batch.rows, batch.tokens) for batch in report.batches] == [(1, 8), (2, 8)]
    for batch in report.batches:
        assert min(batch.whole, batch.tokenize, batch.pad, batch.graph, batch.operators.seconds) > 0
        assert batch.rest >= 0
        assert sum(each.count for each in batch.operators.operators) > 20
    one, two = (batch.operations for batch in report.batches)
    assert two == 2 * one > 0, "twice the rows, of as many tokens"


def test_the_table_has_every_kind_and_the_peak(report: ProfileReport) -> None:
    text = report.table()
    assert f"{report.peak / 1e9:,.0f} GOP/s in 8-bit integers" in text
    for step in ("tokenize", "pad", "graph", "- between them", "the rest"):
        assert text.count(f"\n{step} ") == len(report.batches)
    for batch in report.batches:
        assert f"\n- {batch.operators.operators[0].kind} " in text


def test_the_json_has_the_same_figures(report: ProfileReport) -> None:
    found = json.loads(report.to_json())
    assert found["peak"] == report.peak
    assert [batch["graph"] for batch in found["batches"]] == [batch.graph for batch in report.batches]


def test_a_task_that_writes() -> None:
    with pytest.raises(InputError, match=r"--profile is for tasks whose input is one text .*, not for text-generation"):
        profile(WRITER)


def test_lengths_that_the_model_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lengths has 64 tokens, the model takes at most 16"):
        profile(write_bundle(tmp_path / "words"), lengths=(64,))
