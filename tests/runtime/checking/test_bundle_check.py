"""``check()``: what it says of a bundle that is whole, and of one that is not."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from edgepipe import Bundle, check
from edgepipe.backend.openvino.ov_module import load_openvino
from edgepipe.bundle.layout import PROBES_NAME
from edgepipe.errors import BundleError, DependencyError, DeviceError, VariantError
from tests.runtime.probed_bundle import TEXTS, sign, turn_labels, turn_weights, write_probed_bundle
from tests.runtime.small_bundle import flip_last_byte, write_bundle, write_foreign, write_graph


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_probed_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("threads", [1, 2])
def test_a_bundle_that_is_whole(folder: Path, threads: int) -> None:
    found = check(folder, num_threads=threads)
    assert found.passed
    assert [(each.dtype, each.passed, each.cause, each.probes) for each in found.variants] == [
        ("fp32", True, None, len(TEXTS)),
        ("int8", True, None, len(TEXTS)),
    ]
    assert check(Bundle.load(folder), dtype="int8").variants[0].dtype == "int8"
    assert found.engine.startswith("onnxruntime")
    lines = found.table().splitlines()
    assert lines[0].startswith(found.engine)
    assert [line.split()[-1] for line in lines[4:6]] == ["passed", "passed"]
    assert lines[6:] == [f"{dtype}: 1 of 1 recorded figures came out the same" for dtype in ("fp32", "int8")]
    record = json.loads(found.to_json())
    assert record["passed"] is True
    assert record["variants"][1]["deviation"]["from_export"] == 0


def test_other_weights(folder: Path) -> None:
    turn_weights(folder, "int8")
    found = check(folder)
    assert not found.passed
    assert [each.passed for each in found.variants] == [True, False]
    assert "computes something else on this processor, or the weights are not" in str(found.variants[1].cause)
    assert "FAILED" in found.table()
    assert found.variants[1].cause in found.table()
    assert all(len(line) <= 60 for line in found.table(width=60).splitlines())


def test_weights_that_are_no_numbers(folder: Path) -> None:
    turn_weights(folder, "fp32", math.nan)
    assert "computes what is no number" in str(check(folder, dtype="fp32").variants[0].cause)


def test_turned_labels_fail_in_every_variant(folder: Path) -> None:
    turn_labels(folder)
    assert ["give other results" in str(each.cause) for each in check(folder).variants] == [True, True]


def test_altered_files_are_all_named(folder: Path) -> None:
    flip_last_byte(folder / "onnx" / "model_int8.onnx_data")
    flip_last_byte(folder / "tokenizer_config.json")
    found = check(folder, dtype="fp32")
    assert not found.passed
    assert [line.split(" was altered")[0].rsplit("/", 1)[1] for line in found.altered] == [
        "tokenizer_config.json",
        "model_int8.onnx_data",
    ]


def test_an_altered_probe_file(folder: Path) -> None:
    path = folder / PROBES_NAME
    path.write_text(path.read_text().replace('"plain"', '"plaid"'))
    found = check(folder)
    assert [PROBES_NAME in line for line in found.altered] == [True]
    assert not found.passed


def test_the_probes_of_another_bundle(folder: Path, tmp_path: Path) -> None:
    other = write_probed_bundle(tmp_path / "other", ("fp32",))
    turn_weights(other, "fp32", 3.0)
    (folder / PROBES_NAME).write_bytes((other / PROBES_NAME).read_bytes())
    sign(folder)
    found = check(folder)
    assert [(each.passed, each.cause) for each in found.variants][1] == (
        None,
        "nothing was recorded of it where the bundle was made",
    )


def test_a_variant_whose_files_are_absent(folder: Path) -> None:
    for path in (folder / "onnx").glob("model_int8*"):
        path.unlink()
    assert [each.dtype for each in check(folder).variants] == ["fp32"]
    with pytest.raises(VariantError, match="its files are not there"):
        check(folder, dtype="int8")


def test_a_missing_probe_file(folder: Path) -> None:
    (folder / PROBES_NAME).unlink()
    with pytest.raises(BundleError, match=f"{PROBES_NAME} is missing"):
        check(folder)


def test_a_bundle_of_an_earlier_version(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no probes to check it with; edgepipe verify .* --update adds"):
        check(write_bundle(tmp_path))


def test_another_tool_s_directory(tmp_path: Path) -> None:
    write_foreign(tmp_path)
    write_graph(tmp_path / "model.onnx")
    with pytest.raises(BundleError, match="is of another tool and has no probes"):
        check(tmp_path)


def test_a_device_that_is_not_there(folder: Path) -> None:
    with pytest.raises(DeviceError):
        check(folder, device="cuda:7")


def test_an_engine_that_is_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    load_openvino.cache_clear()
    with pytest.raises(DependencyError, match="openvino cannot be imported"):
        check(folder, device="openvino")
    load_openvino.cache_clear()
