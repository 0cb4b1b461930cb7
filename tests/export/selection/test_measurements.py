"""What was measured, written beside the manifest and read again: as JSON that every reader takes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edgepipe import Bundle
from edgepipe.bundle.layout import REPORT_NAME
from edgepipe_export.calibration.dataset import BUILT_IN, Dataset
from edgepipe_export.calibration.split import measure_all
from edgepipe_export.evaluation.checks import Check, Disagreement, read_check
from edgepipe_export.reporting.contents import read_contents
from edgepipe_export.reporting.report import render_page
from edgepipe_export.selection.measurements import Sensitivity, VariantMeasurements, write_report
from tests.runtime.small_bundle import write_bundle

CHECK = Check(
    "pipeline",
    "int8",
    "fp32",
    3,
    {"score": math.inf, "logits": 0.25},
    0.5,
    "a bound",
    False,
    "a lone \ud800",
    {"accuracy": 0.5, "kl": math.nan},
    (Disagreement("text \ud800", [{"label": "good", "score": math.nan}], None, math.inf),),
)


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is not JSON")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of which a variant gave no numbers."""
    folder = write_bundle(tmp_path / "bundle", dtypes=("fp32", "int8"))
    measured = VariantMeasurements((CHECK,), (Sensitivity("a", "a", 10, math.inf), Sensitivity("b", "b", 10, 0.5)))
    write_report(
        folder,
        measure_all(Dataset(("a", "b", "c"), None, BUILT_IN)),
        {"int8": measured},
        {"noise": {"spread": math.nan, "noisy": True}},
    )
    return folder


def test_what_is_no_number_becomes_null(bundle: Path) -> None:
    record = json.loads((bundle / REPORT_NAME).read_text(encoding="utf-8"), parse_constant=refuse)
    int8 = record["variants"]["int8"]
    assert int8["checks"][0]["differences"] == {"score": None, "logits": 0.25}
    assert int8["worst"][0]["difference"] is None
    assert int8["worst"][0]["input"] == "text \ud800"
    assert [entry["cost"] for entry in int8["sensitivities"]] == [None, 0.5]
    assert record["noise"] == {"spread": None, "noisy": True}


def test_the_report_knows_them_for_what_cannot_be_compared(bundle: Path) -> None:
    contents = read_contents(Bundle.load(bundle))
    found = contents.measurements["int8"]
    assert found.checks[0].differences == {"score": math.inf, "logits": 0.25}
    assert found.checks[0].max_difference == math.inf
    assert found.worst[0].difference == math.inf
    assert [entry.cost for entry in found.sensitivities] == [math.inf, 0.5]
    assert ElementTree.fromstring(render_page(contents)) is not None
    json.loads(contents.to_json(), parse_constant=refuse)


def test_a_check_comes_back_as_it_was() -> None:
    again = read_check(json.loads(json.dumps(asdict(CHECK))))
    assert repr(again) == repr(CHECK)  # NaN equals nothing, not even itself
