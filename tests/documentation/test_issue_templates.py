"""The templates of issues are what GitHub takes, and the commands they name are there."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from edgepipe.cli.main import COMMANDS
from tests.documentation.pages import REPOSITORY

FOLDER = REPOSITORY / ".github" / "ISSUE_TEMPLATE"
FORMS = ("bug_report.yml", "feature_request.yml")
# GitHub's syntax for issue forms.
_TYPES = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def form(name: str) -> dict[str, Any]:
    found = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_both_forms_are_there() -> None:
    assert {path.name for path in FOLDER.glob("*.yml")} == {*FORMS, "config.yml"}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_has_what_github_asks_for(name: str) -> None:
    found = form(name)
    assert {"name", "description", "body"} <= set(found)
    ids = [field["id"] for field in found["body"]]
    assert len(set(ids)) == len(ids)
    for field in found["body"]:
        assert field["type"] in _TYPES
        assert field["attributes"]["label"]


@pytest.mark.parametrize("name", FORMS)
def test_a_form_asks_for_the_environment(name: str) -> None:
    asked = {field["id"]: field for field in form(name)["body"]}
    assert "edgepipe env" in asked["env"]["attributes"]["label"]
    assert asked["env"]["attributes"]["render"] == "text"
    assert asked["env"].get("validations", {}).get("required", False) == (name == "bug_report.yml")
    commands = re.findall(r"edgepipe ([a-z]+)", (FOLDER / name).read_text(encoding="utf-8"))
    assert set(commands) <= set(COMMANDS)
