"""``edgepipe check``: the table, JSON, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepipe.cli.main import cli
from tests.runtime.probed_bundle import turn_weights, write_probed_bundle


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(write_probed_bundle(tmp_path / "bundle"))


def test_the_exit_status_says_whether_all_is_as_it_was(folder: str) -> None:
    result = CliRunner().invoke(cli, ["check", folder])
    assert (result.exit_code, result.stdout.count("passed")) == (0, 2)
    turn_weights(Path(folder), "int8")
    result = CliRunner().invoke(cli, ["check", folder])
    assert (result.exit_code, result.stdout.count("FAILED")) == (1, 1)
    assert CliRunner().invoke(cli, ["check", folder, "--dtype", "fp32", "--threads", "1"]).exit_code == 0


def test_json(folder: str) -> None:
    record = json.loads(CliRunner().invoke(cli, ["check", folder, "--json"]).stdout)
    assert record["passed"] is True
    assert [each["dtype"] for each in record["variants"]] == ["fp32", "int8"]


def test_the_embedded_default_is_whole() -> None:
    result = CliRunner().invoke(cli, ["check"])
    assert (result.exit_code, result.stdout.count("passed")) == (0, 1)
