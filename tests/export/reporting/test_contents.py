"""The data of a report: what a bundle's two files say, and nothing where they are silent."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Bundle
from edgepipe.bundle.layout import MANIFEST_NAME, REPORT_NAME
from edgepipe.errors import BundleError
from edgepipe_export.evaluation.checks import Check, Disagreement
from edgepipe_export.evaluation.metrics.confusion import Confusion
from edgepipe_export.reporting.contents import Contents, Measurements, read_contents, show_verification
from tests.runtime.small_bundle import write_bundle


def write(path: Path, record: dict[str, Any]) -> Bundle:
    """A bundle with this file of measurements."""
    bundle = write_bundle(path / "bundle", dtypes=("fp32", "int8"))
    (bundle / REPORT_NAME).write_text(json.dumps(record), encoding="utf-8")
    return Bundle.load(bundle)


def test_without_measurements_the_manifest_is_all(bare: Contents) -> None:
    assert (bare.measurements, bare.candidates, bare.calibration, bare.noise) == ({}, (), None, None)
    assert bare.parities == {}
    assert bare.origin == "the data"


def test_what_an_older_version_measured_is_read(tmp_path: Path) -> None:
    found = read_contents(write(tmp_path, {"schema_version": 1, "variants": {"int8": {"checks": [], "worst": []}}}))
    assert found.measurements == {"int8": Measurements()}


def test_measurements_come_back_as_they_were(contents: Contents, tmp_path: Path) -> None:
    record = json.loads(contents.to_json())
    variants = {
        entry["dtype"]: {name: entry[name] for name in ("checks", "worst", "sensitivities", "confusion", "time")}
        for entry in record["variants"]
    }
    calibration = {"origin": "dev.tsv", "inputs": 100}
    found = read_contents(write(tmp_path, {"schema_version": 1, "variants": variants, "calibration": calibration}))
    assert found.measurements == contents.measurements
    assert found.origin == "dev.tsv"


def test_what_is_no_number_is_infinite_again(tmp_path: Path) -> None:
    sensitivity = {"layer": "a", "label": "a", "size": 1, "cost": None}
    variants = {"int8": {"checks": [], "worst": [], "sensitivities": [sensitivity]}}
    found = read_contents(write(tmp_path, {"schema_version": 1, "variants": variants}))
    assert found.measurements["int8"].sensitivities[0].cost == math.inf


def test_sizes_are_parts_of_fp32s_also_where_it_was_only_a_candidate(contents: Contents) -> None:
    sizes = {dtype: variant.bytes for dtype, variant in contents.manifest.variants.items()}
    assert contents.ratio("int8") == sizes["int8"] / sizes["fp32"]
    alone = {"int8": contents.manifest.variants["int8"]}
    without = replace(contents, manifest=replace(contents.manifest, variants=alone, default_dtype="int8"))
    assert without.ratio("int8") is None


def test_raised_layers_are_those_of_the_recipe(contents: Contents) -> None:
    variants = dict(contents.manifest.variants)
    variants["int8"] = replace(variants["int8"], recipe={"precisions": {"/a": "w8"}})
    variants["w8"] = replace(variants["w8"], recipe={"precisions": "odd"})
    found = replace(contents, manifest=replace(contents.manifest, variants=variants))
    assert [dict(found.raised_layers(dtype)) for dtype in ("fp32", "int8", "w8")] == [{}, {"/a": "w8"}, {}]


def test_raised_layers_of_a_candidate_that_was_not_chosen_are_those_that_were_measured(contents: Contents) -> None:
    variants = {"fp32": contents.manifest.variants["fp32"]}
    measurements = {"int8": Measurements(precisions={"/a": "w8"})}
    found = replace(contents, manifest=replace(contents.manifest, variants=variants), measurements=measurements)
    assert dict(found.raised_layers("int8")) == {"/a": "w8"}


def test_the_json_has_everything_in_full(contents: Contents) -> None:
    record = json.loads(contents.to_json())
    by_dtype = {entry["dtype"]: entry for entry in record["variants"]}
    for dtype, measured in contents.measurements.items():
        assert by_dtype[dtype]["parity"] == asdict(contents.parities[dtype])
        assert by_dtype[dtype]["time"] == (None if measured.time is None else asdict(measured.time))
    assert len(by_dtype["int8"]["confusion"]["examples"]) == 12
    assert record["bundle"]["labels"] == list(contents.manifest.labels)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"schema_version": 99}, "is not a file of measurements of schema version 1; upgrade edgepipe"),
        ([], "is not a file of measurements"),
        ({"schema_version": 1, "variants": {"int8": {"checks": [], "worst": [], "confusion": {}}}}, "is damaged"),
        ({"schema_version": 1, "variants": {"int8": {"checks": [], "worst": [], "time": {"odd": 1}}}}, "is damaged"),
        ({"schema_version": 1, "variants": []}, "is damaged"),
    ],
)
def test_damaged_measurements_are_named(tmp_path: Path, record: Any, said: str) -> None:
    bundle = write(tmp_path, record)
    with pytest.raises(BundleError, match=said):
        read_contents(bundle)


def test_a_bundle_of_another_tool_has_no_report(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle")
    (path / MANIFEST_NAME).unlink()
    with pytest.raises(BundleError, match="another tool made it"):
        read_contents(Bundle.load(path))


CHECK = Check(
    "pipeline", "int8", "fp32", 40, {"score": 0.5, "logits": 0.75}, 0.875, "a bound", True, None, {"accuracy": 0.75},
    (Disagreement("a text", None, None, 0.5),), Confusion(40, 5),
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A verification."""

    rows: tuple[Check, ...]
    data: dict[str, Any]


def test_a_verification_takes_the_place_of_what_was_measured_at_export(contents: Contents) -> None:
    found = Found((replace(CHECK, dtype="all"), CHECK), {"origin": "test.tsv", "inputs": 40, "gold": True})
    shown = show_verification(contents, found, contents.manifest.machine)
    assert list(shown.manifest.variants) == ["int8"]
    parity = shown.parities["int8"]
    assert (parity.texts, parity.seen, parity.label_agreement, parity.passed) == (40, 0, 0.875, True)
    assert (parity.figures, parity.max_abs_diff, parity.max_score_diff) == ({"accuracy": 0.75}, {"logits": 0.75}, 0.5)
    measured = shown.measurements["int8"]
    assert (measured.checks, measured.worst, measured.confusion) == ((CHECK,), CHECK.worst, CHECK.confusion)
    assert measured.time == contents.measurements["int8"].time
    assert (shown.origin, shown.verified, contents.verified) == ("test.tsv", True, False)


def test_times_of_another_machine_are_left_out(contents: Contents) -> None:
    shown = show_verification(contents, Found((CHECK,), {"origin": "test.tsv"}), "another machine")
    assert shown.measurements["int8"].time is None
    assert shown.manifest.machine == "another machine"


def test_a_variant_that_was_calibrated_with_these_data_says_so(contents: Contents) -> None:
    variants = dict(contents.manifest.variants)
    variants["int8"] = replace(variants["int8"], recipe={"calibrated": {"inputs": 32, "data_sha256": "same"}})
    calibrated = replace(contents, manifest=replace(contents.manifest, variants=variants))
    for digest, left_out, seen in (("same", False, 32), ("same", True, 0), ("other", False, 0)):
        data = {"data_sha256": digest, "seen": 0 if left_out else 32}
        shown = show_verification(calibrated, Found((CHECK,), data), "")
        assert shown.parities["int8"].seen == seen
