"""Bundles on disk: every layout, and missing, truncated, altered and pruned files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Bundle, Model
from edgepipe.errors import BundleError, EdgepipeError, VariantError
from tests.runtime.small_bundle import (
    LIMIT,
    flip_last_byte,
    record_precision,
    rewrite_manifest,
    write_bundle,
    write_foreign,
    write_graph,
)

SHARED = ["config.json", "tokenizer.json", "tokenizer_config.json"]
FP32 = ["onnx/model.onnx", "onnx/model.onnx_data"]
INT8 = ["onnx/model_int8.onnx", "onnx/model_int8.onnx_data"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", ("fp32", "int8"))


def test_a_whole_bundle(folder: Path) -> None:
    bundle = Bundle.load(folder)
    assert bundle.path == folder
    assert bundle.manifest is not None
    assert (bundle.dtypes, bundle.default_dtype, bundle.task) == (("fp32", "int8"), "fp32", "text-classification")
    assert bundle.max_length == LIMIT
    assert bundle.files("int8") == tuple(folder / name for name in INT8)
    assert bundle.config == json.loads((folder / "config.json").read_text())
    assert sorted(entry.path for entry in bundle.check()) == sorted(SHARED + FP32 + INT8)


def test_a_precision_that_was_measured_has_no_files_of_its_own(folder: Path) -> None:
    record_precision(folder, "bf16", default=True)
    bundle = Bundle.load(folder)
    assert (bundle.dtypes, bundle.default_dtype) == (("fp32", "int8"), "fp32")
    assert bundle.measured_dtypes == ("fp32", "int8", "bf16")
    assert sorted(entry.path for entry in bundle.check()) == sorted(SHARED + FP32 + INT8)
    with pytest.raises(VariantError, match=r"'bf16': only OpenVINO computes the graph of fp32 in it"):
        bundle.graph("bf16")
    for name in FP32:
        (folder / name).unlink()
    assert Bundle.load(folder).measured_dtypes == ("int8",)


def test_a_bundle_shows_what_it_is_for(folder: Path) -> None:
    dtypes = Bundle.load(folder).dtypes
    assert repr(Bundle.load(folder)) == f"Bundle({str(folder)!r}, task='text-classification', dtypes={dtypes!r})"


@pytest.mark.parametrize("form", [str, Path])
def test_a_path_in_either_form(folder: Path, form: Any) -> None:
    assert Bundle.load(form(folder)).dtypes == ("fp32", "int8")


@pytest.mark.parametrize("name", SHARED + FP32 + INT8)
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=rf"{Path(name).name}.* is missing|has no config\.json"):
        Bundle.load(folder)


@pytest.mark.parametrize("name", SHARED + FP32 + INT8)
def test_a_truncated_file(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1] if name != "config.json" else path.read_bytes() + b" ")
    with pytest.raises(
        BundleError, match=rf"{path.name} has \d+ bytes, the manifest says {recorded_size(folder, name)}"
    ):
        Bundle.load(folder)


def recorded_size(folder: Path, name: str) -> int:
    record = json.loads((folder / "edgepipe.json").read_text())
    entries = record["files"] + [file for variant in record["variants"].values() for file in variant["files"]]
    return next(int(entry["bytes"]) for entry in entries if entry["path"] == name)


@pytest.mark.parametrize("name", ["tokenizer.json", *FP32, *INT8])
def test_an_altered_file_of_the_same_size_is_found_by_check(folder: Path, name: str) -> None:
    flip_last_byte(folder / name)
    bundle = Bundle.load(folder)
    with pytest.raises(BundleError, match=rf"{Path(name).name} was altered: its sha256"):
        bundle.check()


def test_an_altered_graph_is_found_at_load(folder: Path) -> None:
    flip_last_byte(folder / "onnx/model_int8.onnx")
    assert Model.from_pretrained(folder).dtype == "fp32"
    with pytest.raises(BundleError, match=r"model_int8\.onnx was altered: its sha256"):
        Model.from_pretrained(folder, "int8")


def test_a_pruned_variant_is_left_out(folder: Path) -> None:
    for name in INT8:
        (folder / name).unlink()
    bundle = Bundle.load(folder)
    assert bundle.dtypes == ("fp32",)
    assert sorted(entry.path for entry in bundle.check()) == sorted(SHARED + FP32)
    with pytest.raises(VariantError, match=r"'int8': its files are not there; there is fp32$"):
        Model.from_pretrained(folder, "int8")


def test_the_default_variant_pruned(folder: Path) -> None:
    for name in FP32:
        (folder / name).unlink()
    assert Model.from_pretrained(folder).dtype == "int8"


def test_every_variant_pruned(folder: Path) -> None:
    for name in FP32 + INT8:
        (folder / name).unlink()
    with pytest.raises(BundleError, match="no graph"):
        Bundle.load(folder)


@pytest.mark.parametrize("dtype", ["int4", "", "FP32", 8, ["fp32"]])
def test_an_unknown_dtype_names_those_there_are(folder: Path, dtype: Any) -> None:
    with pytest.raises(VariantError, match=r"it has no such variant; there is fp32, int8$"):
        Model.from_pretrained(folder, dtype)


def test_a_damaged_manifest_names_its_file(folder: Path) -> None:
    (folder / "edgepipe.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BundleError, match=r"edgepipe\.json cannot be read as UTF-8"):
        Bundle.load(folder)
    (folder / "edgepipe.json").write_text("{")
    with pytest.raises(BundleError, match=r"edgepipe\.json is not valid JSON"):
        Bundle.load(folder)


@pytest.mark.parametrize("text", ["{", "[]", "7"])
def test_a_damaged_config(tmp_path: Path, text: str) -> None:
    write_foreign(tmp_path)
    write_graph(tmp_path / "model.onnx")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BundleError, match=r"config\.json (is not valid JSON|holds a)"):
        Bundle.load(tmp_path)


def test_no_config(tmp_path: Path) -> None:
    write_graph(tmp_path / "onnx/model.onnx")
    with pytest.raises(BundleError, match=r"no config\.json.*edgepipe export"):
        Bundle.load(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin.index.json"])
def test_a_checkpoint_in_place_of_a_bundle(tmp_path: Path, name: str) -> None:
    write_foreign(tmp_path)
    (tmp_path / name).touch()
    with pytest.raises(
        BundleError, match=rf"no graph.*is a checkpoint.*edgepipe export {re.escape(str(tmp_path))} OUT"
    ):
        Bundle.load(tmp_path)


def test_no_graph(tmp_path: Path) -> None:
    write_foreign(tmp_path)
    with pytest.raises(BundleError, match="no graph"):
        Bundle.load(tmp_path)


@pytest.mark.parametrize("value", [None, 3, b"bundle", ["bundle"], 1.5, object()])
def test_not_a_path(value: Any) -> None:
    with pytest.raises(EdgepipeError, match=type(value).__name__):
        Bundle.load(value)


@pytest.mark.parametrize(
    "value", ["", "./nowhere", "/nowhere/at/all", "a/b/c", "a\x00b", "../..//", "~", "https://x.y/z"]
)
def test_neither_a_directory_nor_a_hub_id(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError):
        Bundle.load(value)


def test_a_file_instead_of_a_directory(folder: Path) -> None:
    with pytest.raises(BundleError, match="is not a directory"):
        Bundle.load(folder / "onnx" / "model.onnx")


# Directories that other tools made: no manifest.


@pytest.mark.parametrize("external", [True, False])
@pytest.mark.parametrize("subfolder", ["", "onnx"])
def test_a_foreign_layout(tmp_path: Path, subfolder: str, external: bool) -> None:
    write_foreign(tmp_path)
    write_graph(tmp_path / subfolder / "model.onnx", "fp32", external=external)
    write_graph(tmp_path / subfolder / "model_quantized.onnx", "q8", external=external)
    bundle = Bundle.load(tmp_path)
    assert (bundle.manifest, bundle.dtypes, bundle.default_dtype) == (None, ("fp32", "q8"), "fp32")
    assert (bundle.task, bundle.max_length) == ("text-classification", LIMIT)
    names = ["model_quantized.onnx", "model_quantized.onnx_data"] if external else ["model_quantized.onnx"]
    assert [path.name for path in bundle.files("q8")] == names
    assert Model.from_pretrained(tmp_path, "q8").dtype == "q8"
    with pytest.raises(VariantError, match=r"'int8'.*there is fp32, q8$"):
        bundle.files("int8")
    with pytest.raises(BundleError, match="nothing to check"):
        bundle.check()


def test_a_foreign_directory_with_a_quantized_graph_alone(tmp_path: Path) -> None:
    write_foreign(tmp_path)
    write_graph(tmp_path / "onnx/model_quantized.onnx", "q8")
    assert Model.from_pretrained(tmp_path).dtype == "q8"


@pytest.mark.parametrize(
    ("positions", "tokens", "limit"),
    [
        (LIMIT + 2, LIMIT, LIMIT),
        (LIMIT, 512, LIMIT),
        (LIMIT, int(1e30), LIMIT),
        (None, LIMIT, LIMIT),
        (None, None, None),
    ],
)
def test_the_limit_of_a_foreign_directory(
    tmp_path: Path, positions: int | None, tokens: int | None, limit: int | None
) -> None:
    write_foreign(tmp_path, config={"max_position_embeddings": positions})
    write_graph(tmp_path / "model.onnx")
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text()) | {"model_max_length": tokens}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert Bundle.load(tmp_path).max_length == limit


@pytest.mark.parametrize("architectures", [None, [], ["MysteryNet"], "BertForSequenceClassification", [3]])
def test_a_foreign_directory_that_does_not_say_its_task(tmp_path: Path, architectures: Any) -> None:
    write_foreign(tmp_path, config={"architectures": architectures})
    write_graph(tmp_path / "model.onnx")
    assert Bundle.load(tmp_path).task is None


def test_corrupt_graph_without_a_manifest(tmp_path: Path) -> None:
    write_foreign(tmp_path)
    for content in (b"", b"not a graph", b"\x08\x07" * 100):
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(BundleError, match=r"cannot load .*model\.onnx: "):
            Model.from_pretrained(tmp_path)


def test_missing_weights_without_a_manifest(tmp_path: Path) -> None:
    write_foreign(tmp_path)
    write_graph(tmp_path / "model.onnx")
    (tmp_path / "model.onnx_data").unlink()
    with pytest.raises(BundleError, match="cannot load"):
        Model.from_pretrained(tmp_path)


def test_what_a_cache_is_kept_in(folder: Path) -> None:
    manifest = json.loads((folder / "edgepipe.json").read_text())
    dtype = next(iter(manifest["variants"]))
    assert Bundle.load(folder).cache_dtype(dtype) is None
    for said, found in (({"dtype": "int8"}, "int8"), ({}, None), ("int8", None)):
        manifest["variants"][dtype]["recipe"]["kv_cache"] = said
        rewrite_manifest(folder, manifest)
        assert Bundle.load(folder).cache_dtype(dtype) == found
