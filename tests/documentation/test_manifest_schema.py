"""docs/reference/edgepipe.schema.json is the manifest's: that of its classes, of its reader, and of real bundles."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgepipe.bundle.manifest import Manifest
from edgepipe.errors import BundleError
from edgepipe_models import default_bundle
from tests.conftest import Exported
from tests.documentation.manifest_schema import make_schema
from tests.documentation.pages import REPOSITORY, text

PAGE = "docs/reference/edgepipe.schema.json"
SCHEMA: dict[str, Any] = json.loads((REPOSITORY / PAGE).read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


@pytest.fixture
def record() -> dict[str, Any]:
    """The manifest of the embedded bundle."""
    content: dict[str, Any] = json.loads((default_bundle() / "edgepipe.json").read_text(encoding="utf-8"))
    return content


def parts(record: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each object of a manifest, with the schema of its class."""
    kinds = SCHEMA["$defs"]
    yield record, SCHEMA
    yield record["source"], kinds["Source"]
    for variant in record["variants"].values():
        yield variant, kinds["Variant"]
        yield variant["parity"], kinds["Parity"]
    for file in record["files"]:
        yield file, kinds["FileEntry"]


def test_the_file_is_made_of_the_classes() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert make_schema() == SCHEMA, f"python -m tests.documentation.manifest_schema > {PAGE}"


def test_every_field_is_described(record: dict[str, Any]) -> None:
    for _, schema in parts(record):
        for name, described in schema["properties"].items():
            assert described.get("description"), name


def test_the_embedded_bundle_fits(record: dict[str, Any]) -> None:
    VALIDATOR.validate(record)
    assert record["variants"]["int8"]["parity"]["figures"]


def test_an_export_fits(tiny_export: Callable[..., Exported], tmp_path: Path) -> None:
    written = tiny_export("bert").bundle.path / "edgepipe.json"
    record = json.loads(written.read_text(encoding="utf-8"))
    VALIDATOR.validate(record)
    assert record["variants"]["fp32"]["parity"] is None


def test_infinite_differences_fit(record: dict[str, Any]) -> None:
    record["variants"]["int8"]["parity"]["max_abs_diff"]["logits"] = None
    del record["manifest_sha256"]
    VALIDATOR.validate(record)
    VALIDATOR.validate(json.loads(Manifest.from_json(json.dumps(record)).to_json()))


def test_the_reader_needs_what_the_schema_requires(record: dict[str, Any]) -> None:
    missing = 0
    del record["manifest_sha256"]  # which would be wrong first
    for part, schema in parts(record):
        for name in schema["required"]:
            value = part.pop(name)
            assert not VALIDATOR.is_valid(record), name
            with pytest.raises(BundleError):
                Manifest.from_json(json.dumps(record))
            part[name] = value
            missing += 1
    assert missing > len(SCHEMA["required"])


def test_the_reader_needs_nothing_else(record: dict[str, Any]) -> None:
    for part, schema in parts(record):
        for name in set(part) - set(schema["required"]):
            part.pop(name)
    VALIDATOR.validate(record)
    assert Manifest.from_json(json.dumps(record)).task == record["task"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("task", 1), ("labels", "POSITIVE"), ("labels", [1]), ("max_length", "512"), ("variants", []), ("source", "a")],
)
def test_wrong_types_fit_neither(record: dict[str, Any], name: str, value: Any) -> None:
    record[name] = value
    assert not VALIDATOR.is_valid(record)
    with pytest.raises(BundleError):
        Manifest.from_json(json.dumps(record))


def test_the_page_of_the_bundle_has_every_field(record: dict[str, Any]) -> None:
    content = text("docs/reference/bundle.md")
    for _, schema in parts(record):
        missing = [name for name in schema["properties"] if f"`{name}`" not in content and f".{name}`" not in content]
        assert not missing, f"docs/reference/bundle.md: {missing}"
