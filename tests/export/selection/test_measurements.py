"""What was measured, written beside the manifest and read again: as JSON that every reader takes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edgepipe import Bundle
from edgepipe.bundle.layout import REPORT_NAME
from edgepipe_export.calibration.dataset import BUILT_IN, Dataset
from edgepipe_export.calibration.split import measure_all
from edgepipe_export.evaluation.checks import Check, Disagreement, read_check
from edgepipe_export.evaluation.metrics.confusion import ChangedExample, Choice, Confusion, read_confusion
from edgepipe_export.reporting.contents import read_contents
from edgepipe_export.reporting.report import render_page
from edgepipe_export.selection.latency import Latency
from edgepipe_export.selection.measurements import Sensitivity, VariantMeasurements, write_report
from edgepipe_export.selection.request_time import RequestTime
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


TIMES = {"int8": Latency(4.0, 0.25), "w8": Latency(8.0, 0.5)}


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is not JSON")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of which a variant gave no numbers."""
    folder = write_bundle(tmp_path / "bundle", dtypes=("fp32", "int8"))
    layers = (Sensitivity("a", "a", 10, math.inf), Sensitivity("b", "b", 10, 0.5))
    measured = VariantMeasurements((CHECK,), layers, precision_times=TIMES)
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
    assert int8["precision_times"]["w8"] == {"median_ms": 8.0, "spread": 0.5}
    assert record["noise"] == {"spread": None, "noisy": True}


def test_the_report_knows_them_for_what_cannot_be_compared(bundle: Path) -> None:
    contents = read_contents(Bundle.load(bundle))
    found = contents.measurements["int8"]
    assert found.checks[0].differences == {"score": math.inf, "logits": 0.25}
    assert found.checks[0].max_difference == math.inf
    assert found.worst[0].difference == math.inf
    assert [entry.cost for entry in found.sensitivities] == [math.inf, 0.5]
    assert found.precision_times == TIMES
    assert ElementTree.fromstring(render_page(contents)) is not None
    json.loads(contents.to_json(), parse_constant=refuse)


def test_a_check_comes_back_as_it_was() -> None:
    again = read_check(json.loads(json.dumps(asdict(CHECK))))
    assert repr(again) == repr(CHECK)  # NaN equals nothing, not even itself


CONFUSION = Confusion(
    3, 2, (("good", "good", 1), ("good", "bad", 2)),
    (
        ChangedExample("b", "", Choice("good", 0.75), Choice("bad", 0.5), "good"),
        ChangedExample("c", "a word", Choice("good", 0.5), Choice("bad", 0.5)),
    ),
    1, 0,
)  # fmt: skip
SPANS = replace(CONFUSION, counts=())  # choices that are no labels


def written(
    tmp_path: Path, origin: str, confusion: Confusion = CONFUSION, *, keep_texts: bool = False
) -> dict[str, Any]:
    """What is written of a variant whose worst inputs are the data's."""
    worst = (
        Disagreement("b", [{"label": "good", "score": 0.75}], [{"label": "bad", "score": 0.5}], 1.25),
        Disagreement("c", [{"answer": "a secret", "score": 0.5}], None, 0.5),
    )
    check = replace(CHECK, detail="'b': a difference", worst=worst, confusion=confusion)
    measured = VariantMeasurements((check,), time=RequestTime(4.0, 0.25, 1.0, 2.5))
    data = measure_all(Dataset(("a", "b", "c"), None, origin))
    write_report(tmp_path, data, {"int8": measured}, {}, keep_texts=keep_texts)
    record = json.loads((tmp_path / REPORT_NAME).read_text(encoding="utf-8"))
    found: dict[str, Any] = record["variants"]["int8"]
    return found


def test_texts_of_the_users_data_stay_out(tmp_path: Path) -> None:
    found = written(tmp_path, "dev.tsv")
    assert [entry["input"] for entry in found["confusion"]["examples"]] == [{"number": 2}, {"number": 3}]
    assert [entry["place"] for entry in found["confusion"]["examples"]] == ["", ""]
    assert [entry["input"] for entry in found["worst"]] == [{"number": 2}, {"number": 3}]
    assert found["worst"][0]["reference"] == [{"label": "good", "score": 0.75}]
    assert found["worst"][1]["reference"] is None
    assert found["checks"][0]["detail"] is None
    assert written(tmp_path, "dev.tsv", SPANS)["confusion"]["examples"] == []
    assert written(tmp_path, "dev.tsv", SPANS)["confusion"]["changed"] == SPANS.changed


@pytest.mark.parametrize(("origin", "keep_texts"), [("dev.tsv", True), (BUILT_IN, False)])
def test_texts_that_were_asked_for_or_are_our_own_are_kept(tmp_path: Path, origin: str, keep_texts: bool) -> None:
    found = written(tmp_path, origin, keep_texts=keep_texts)
    assert read_confusion(found["confusion"]) == CONFUSION
    assert found["worst"][1]["reference"] == [{"answer": "a secret", "score": 0.5}]
    assert found["checks"][0]["detail"] == "'b': a difference"
    assert found["time"] == asdict(RequestTime(4.0, 0.25, 1.0, 2.5))


def test_an_older_version_finds_what_it_knows(tmp_path: Path) -> None:
    """It reads the fields of checks, of the worst inputs and of sensitivities as they are, and passes over others."""
    found = written(tmp_path, "dev.tsv")
    assert found.keys() - {"confusion", "time"} == {"checks", "worst"}
    known = {
        "check",
        "dtype",
        "reference",
        "compared",
        "differences",
        "agreement",
        "bound",
        "passed",
        "detail",
        "figures",
    }
    assert found["checks"][0].keys() == known
    assert found["worst"][0].keys() == {"input", "reference", "candidate", "difference"}
