"""The manifest: round trip, and every way in which the file can be wrong."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Bundle
from edgepipe.bundle.manifest import SCHEMA_VERSION, Manifest, Parity, Variant
from edgepipe.errors import BundleError
from tests.runtime.small_bundle import LABELS, LIMIT, write_bundle


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    text = (write_bundle(tmp_path / "bundle") / "edgepipe.json").read_text()
    content: dict[str, Any] = json.loads(text)
    del content["manifest_sha256"]  # as in older bundles, so that what else is wrong is seen
    return content


@pytest.mark.parametrize(
    ("field", "value"), [("max_length", 24), ("task", "fill-mask"), ("labels", ["x", "y", "z"]), ("another", 1)]
)
def test_a_manifest_that_was_altered_is_refused(field: str, value: object, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    altered = json.loads((folder / "edgepipe.json").read_text()) | {field: value}
    (folder / "edgepipe.json").write_text(json.dumps(altered))
    with pytest.raises(BundleError, match=r"edgepipe\.json was altered: it does not have the digest"):
        Bundle.load(folder)


def test_a_manifest_may_be_laid_out_otherwise(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    written = json.loads((folder / "edgepipe.json").read_text())
    (folder / "edgepipe.json").write_text(json.dumps(dict(reversed(written.items())), indent=7))
    assert Bundle.load(folder).manifest == Manifest.from_json(json.dumps(written))


def test_what_was_written_is_read(record: dict[str, Any]) -> None:
    manifest = Manifest.from_json(json.dumps(record))
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert (manifest.labels, manifest.max_length, manifest.schema_version) == (LABELS, LIMIT, SCHEMA_VERSION)
    variant = manifest.variants["fp32"]
    assert variant.bytes == sum(file["bytes"] for file in record["variants"]["fp32"]["files"]) > 0


def test_parity_is_kept(record: dict[str, Any]) -> None:
    parity = Parity("pytorch-fp32", 8, {"logits": 1e-6}, 1e-7, 1.0, "1e-4", True)
    plain = Manifest.from_json(json.dumps(record))
    measured = Manifest.from_json(json.dumps(record))
    object.__setattr__(measured, "variants", {"fp32": Variant(plain.variants["fp32"].files, {}, parity)})
    assert Manifest.from_json(measured.to_json()).variants["fp32"].parity == parity


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 1', "\x00", "nonsense"])
def test_not_json(text: str) -> None:
    with pytest.raises(BundleError, match=r"here\.json is not valid JSON"):
        Manifest.from_json(text, "here.json")


@pytest.mark.parametrize("text", ["[]", "null", "3", "{}", '{"schema_version": "1"}', '{"schema_version": null}'])
def test_not_a_manifest(text: str) -> None:
    with pytest.raises(BundleError, match="not an edgepipe manifest"):
        Manifest.from_json(text)


def test_a_newer_schema_is_refused_even_if_it_would_parse(record: dict[str, Any]) -> None:
    record["schema_version"] = SCHEMA_VERSION + 1
    with pytest.raises(BundleError, match=f"schema version {SCHEMA_VERSION + 1}.*upgrade edgepipe"):
        Manifest.from_json(json.dumps(record))


def test_fields_that_a_later_version_added_are_passed_over(record: dict[str, Any]) -> None:
    parity = Parity("pytorch-fp32", 8, {"logits": 1e-6}, 1e-7, 1.0, "1e-4", True)
    record["variants"]["fp32"]["parity"] = asdict(parity)
    expected = Manifest.from_json(json.dumps(record))
    variant = record["variants"]["fp32"]
    for part in (record, record["source"], variant, variant["parity"], variant["files"][0], record["files"][0]):
        part["of_a_later_version"] = 1
    assert Manifest.from_json(json.dumps(record)) == expected


FIELDS = ["task", "source", "versions", "machine", "max_length", "labels", "default_dtype", "variants", "files"]


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field(record: dict[str, Any], name: str) -> None:
    del record[name]
    with pytest.raises(BundleError, match=f"damaged.*{name}"):
        Manifest.from_json(json.dumps(record))


@pytest.mark.parametrize("value", [7.5, [[1]], "text", True])
@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_a_wrong_type(record: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, str) and name in ("task", "machine", "default_dtype"):
        value = None
    record[name] = value
    with pytest.raises(BundleError, match="damaged"):
        Manifest.from_json(json.dumps(record))


@pytest.mark.parametrize(
    "path",
    [
        "../outside",
        "onnx/../../outside",
        "/etc/passwd",
        "..",
        "",
        ".",
        "C:\\outside",
        "onnx\\..\\outside",
        "a\0b",
        "a\nb",
        "\ud800",
        3,
        None,
    ],
)
def test_a_file_outside_the_bundle(record: dict[str, Any], path: Any) -> None:
    record["files"][0]["path"] = path
    with pytest.raises(BundleError, match="damaged"):
        Manifest.from_json(json.dumps(record))


@pytest.mark.parametrize(("name", "value"), [("bytes", "12"), ("bytes", -1), ("sha256", 12), ("sha256", None)])
def test_a_file_entry_of_a_wrong_type(record: dict[str, Any], name: str, value: Any) -> None:
    record["variants"]["fp32"]["files"][0][name] = value
    with pytest.raises(BundleError, match="damaged"):
        Manifest.from_json(json.dumps(record))


def test_a_target_that_no_older_bundle_has(record: dict[str, Any]) -> None:
    record.pop("target", None)
    older = Manifest.from_json(json.dumps(record))
    assert older.target is None
    assert "target" not in json.loads(older.to_json()), "its digest stays"
    newer = Manifest.from_json(json.dumps(record | {"target": "vnni"}))
    assert newer.target == "vnni"
    assert Manifest.from_json(newer.to_json()) == newer
    assert newer.digest != older.digest
    with pytest.raises(BundleError, match="damaged: target is 7"):
        Manifest.from_json(json.dumps(record | {"target": 7}))


def test_a_default_variant_that_is_not_there(record: dict[str, Any]) -> None:
    record["default_dtype"] = "int8"
    with pytest.raises(BundleError, match=r"damaged.*int8"):
        Manifest.from_json(json.dumps(record))


def test_numbers_that_json_does_not_have(record: dict[str, Any]) -> None:
    parity = Parity("pytorch-fp32", 8, {"logits": math.inf, "pooler_output": 0.5}, None, 1.0, "1e-4", False)
    record["variants"]["fp32"]["parity"] = asdict(parity)
    manifest = Manifest.from_json(json.dumps(record))
    text = manifest.to_json()
    written = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert written["variants"]["fp32"]["parity"]["max_abs_diff"] == {"logits": None, "pooler_output": 0.5}
    assert Manifest.from_json(text) == manifest


@pytest.mark.parametrize("recipe", [None, "int8", [], 3])
def test_a_recipe_of_another_kind(record: dict[str, Any], recipe: Any) -> None:
    next(iter(record["variants"].values()))["recipe"] = recipe
    with pytest.raises(BundleError, match="damaged"):
        Manifest.from_json(json.dumps(record))


def test_a_manifest_that_is_too_deep() -> None:
    with pytest.raises(BundleError, match="within each other too often"):
        Manifest.from_json("[" * 100_000)
