"""docs/reference/edgepipe_probes.schema.json is that of real probes, and the page of the probes has its fields."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgepipe.bundle.layout import PROBES_NAME
from edgepipe.checking.probes import Probes
from edgepipe.checking.sketch import LENGTH
from edgepipe_models import default_bundle
from tests.conftest import Exported
from tests.documentation.pages import REPOSITORY, text

PAGE = "docs/reference/edgepipe_probes.schema.json"
SCHEMA: dict[str, Any] = json.loads((REPOSITORY / PAGE).read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / PROBES_NAME).read_text(encoding="utf-8"))
    return content


def test_the_embedded_bundle_fits() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    VALIDATOR.validate(read(default_bundle()))


@pytest.mark.parametrize("task", ["token-classification", "question-answering", "feature-extraction"])
def test_an_export_fits(tiny_export: Callable[..., Exported], task: str) -> None:
    VALIDATOR.validate(read(tiny_export("bert", task=task).bundle.path))


def test_the_reader_needs_what_the_schema_requires(tmp_path: Path) -> None:
    for name in set(SCHEMA["required"]) - {"schema_version"}:
        record = read(default_bundle())
        del record[name]
        assert not VALIDATOR.is_valid(record)
        (tmp_path / PROBES_NAME).write_text(json.dumps(record), encoding="utf-8")
        with pytest.raises(Exception, match="is damaged"):
            Probes.load(tmp_path)


def test_lengths_are_those_of_the_code() -> None:
    assert SCHEMA["$defs"]["Sketch"]["properties"]["values"]["maxItems"] == LENGTH


def test_the_page_has_every_field() -> None:
    content = text("docs/reference/probes.md")
    parts = [SCHEMA, *(SCHEMA["$defs"][name] for name in ("Machine", "Probe", "Sketch"))]
    names = [name for part in parts for name in part["properties"]]
    assert not [name for name in names if f"`{name}`" not in content and f"`{name}." not in content]
