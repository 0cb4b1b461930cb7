"""The files that repositories are expected to have say what the package says."""

from __future__ import annotations

import tomllib

import yaml

import edgepipe
from tests.packaging.conftest import REPOSITORY


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert citation["version"] == edgepipe.__version__ == project["version"]
    assert citation["license"] == project["license"]


def test_hooks_run_what_make_check_runs() -> None:
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    entries = [hook["entry"].split()[0].rpartition("/")[2] for hook in hooks]
    makefile = (REPOSITORY / "Makefile").read_text()
    checks = makefile.split("\ncheck:")[1].split("\n\n")[0]
    assert [entry for entry in entries if entry not in checks] == []
    assert all(f"$(BIN)/{entry}" in checks for entry in entries)
