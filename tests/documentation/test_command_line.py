"""docs/reference/cli.md: the keys of the JSON, and the lines that the shells read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgepipe import Bundle
from edgepipe.benchmarking.results import BenchReport
from edgepipe.cli.commands.info import describe
from edgepipe.cli.device_wheels import Wheel, describe_wheels
from edgepipe.cli.main import cli
from edgepipe_export import Verification
from tests.documentation.pages import text
from tests.runtime.small_bundle import write_bundle

PAGE = "docs/reference/cli.md"


def keys(command: str) -> set[str]:
    """The keys that the page names for a command."""
    row = re.search(rf"^\| `edgepipe {command} --json` \| (.*) \|$", text(PAGE), re.MULTILINE)
    assert row is not None, f"{PAGE}: a row for edgepipe {command} --json"
    return set(re.findall(r"`(\w+)`", row[1]))


def told(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False)
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def test_info(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    assert set(told("info", str(folder))) == keys("info")


def test_run(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    assert set(told("run", str(folder), "a text")) == keys("run")


def test_env() -> None:
    assert set(told("env")) == keys("env")


def test_demo() -> None:
    assert set(told("demo")) == keys("demo")


def test_report(tmp_path: Path) -> None:
    assert set(told("report", str(write_bundle(tmp_path / "bundle")))) == keys("report")


def test_recipes() -> None:
    found = told("recipes")["recipes"]
    assert keys("recipes") - {"recipes"} <= set(found[0])


def test_bundle_wheels() -> None:
    assert set(describe_wheels(Path("wheels"), [], "linux_aarch64", "3.11")) | set(Wheel.__slots__) == keys(
        "bundle-wheels"
    )


def test_bench() -> None:
    assert keys("bench") == set(BenchReport.__dataclass_fields__)


def test_verify() -> None:
    assert keys("verify") == set(json.loads(Verification(()).to_json()))


def test_export_tells_what_info_tells_and_its_report(tmp_path: Path) -> None:
    assert keys("export") == {"info", "checked_files", "report"}
    assert set(describe(Bundle.load(write_bundle(tmp_path / "bundle")))) | {"checked_files"} == keys("info")


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "./nowhere"],
        ["demo", "./nowhere"],
        ["export", "./nowhere", "./out"],
        ["export", "--prefer", "beauty"],
        ["info", "./nowhere"],
        ["report", "./nowhere"],
        ["run", "./nowhere", "a text"],
        ["verify", "./nowhere", "./nowhere"],
    ],
)
def test_a_command_that_fails_writes_no_json(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgepipe", *arguments, "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2 if "beauty" in arguments else 1, "")
    assert done.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_lines_for_shells_give_their_scripts(shell: str) -> None:
    line = re.search(rf"_EDGEPIPE_COMPLETE={shell}_source edgepipe", text(PAGE))
    assert line is not None
    variable, value = line[0].split()[0].split("=")
    program = f"import os; os.environ[{variable!r}] = {value!r}; from edgepipe.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "_edgepipe_completion" in done.stdout
