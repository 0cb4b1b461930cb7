"""Whether a process that tries an engine dies, and what is made of how it ended."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepipe.checking import engine_trial
from edgepipe.checking.engine_trial import SEEN_TO_WORK, explain_death, find_death
from edgepipe.cli.main import cli
from tests.runtime.processes import run_python

REPOSITORY = Path(__file__).parents[3]

CHECK = """
    from click.testing import CliRunner
    from edgepipe.cli.main import cli
    result = CliRunner().invoke(cli, {arguments!r})
    print(result.exit_code, result.output, result.exception)
"""


@pytest.fixture
def deadly(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which importing onnxruntime is its end, as where an instruction is missing."""
    (tmp_path / "onnxruntime.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    return {"PYTHONPATH": str(tmp_path)}


def test_an_engine_that_runs_here() -> None:
    assert find_death("onnxruntime") is None


def test_an_engine_that_is_not_installed() -> None:
    assert find_death("no_such_engine") is None


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_check_says_that_the_engine_dies(deadly: dict[str, str]) -> None:
    shown = run_python(CHECK.format(arguments=["check"]), env=deadly)
    assert shown.startswith("1 ")
    assert "needs instructions that this processor" in shown
    assert "and dies of it; " in shown


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_death_leaves_no_files(deadly: dict[str, str], tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    shown = run_python(CHECK.format(arguments=["check"]), env=deadly | {"TMPDIR": str(temporary)})
    assert "dies of it" in shown
    assert not list(temporary.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_bug_report_says_that_the_engine_dies(deadly: dict[str, str]) -> None:
    shown = run_python(CHECK.format(arguments=["env", "--json"]), env=deadly)
    found = json.loads(shown[shown.index("{") : shown.rindex("}") + 1])
    assert "dies of it" in found["engines"]["onnxruntime"]["error"]
    assert "providers" not in found["engines"]["onnxruntime"]


def test_a_process_that_ended_by_itself_tells_nothing() -> None:
    assert explain_death("onnxruntime", 0) is None
    assert explain_death("onnxruntime", 1) is None


@pytest.mark.parametrize("status", [-signal.SIGILL, 0xC000001D, 0xC000001D - 2**32], ids=["linux", "windows", "signed"])
@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("aarch64", {"asimd", "crc32"}, "version 1.32.0 was seen to work on such a processor: pip install"),
        ("x86_64", {"sse4_1", "avx2"}, "version 1.32.0 was seen to work"),
        (
            "x86_64",
            {"sse2"},
            "no version is known to work on such a processor: it has no sse4_1; take a newer one",
        ),
        ("riscv64", set(), "no version is known to work on such a processor; take a newer one"),
    ],
    ids=["arm", "haswell", "older", "other"],
)
def test_an_illegal_instruction(
    machine: str, flags: set[str], expected: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_trial.platform, "machine", lambda: machine)
    monkeypatch.setattr(engine_trial, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(engine_trial, "package_versions", lambda names: {"onnxruntime": "1.21.0"})
    said = str(explain_death("onnxruntime", status))
    assert said.startswith("onnxruntime 1.21.0 needs instructions that this processor (")
    assert expected in said


def test_the_version_that_dies_is_not_what_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_trial.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(engine_trial, "cpu_flags", lambda: frozenset({"asimd"}))
    monkeypatch.setattr(engine_trial, "package_versions", lambda names: {"onnxruntime": "1.32.0"})
    assert "onnxruntime==1.24.1" in str(explain_death("onnxruntime", -signal.SIGILL))


@pytest.mark.parametrize("number", [signal.SIGSEGV, 99], ids=["named", "unnamed"])
def test_another_death(number: int) -> None:
    name = signal.SIGSEGV.name if number == signal.SIGSEGV else "signal 99"
    assert f"dies of {name} on this processor" in str(explain_death("onnxruntime", -number))


def test_another_engine_has_its_own_advice() -> None:
    assert str(explain_death("openvino", -signal.SIGILL)).endswith("take device='cpu' (--device cpu)")


def test_versions_that_were_seen_to_work_are_those_of_the_table() -> None:
    rows = json.loads((REPOSITORY / "docs/reference/processors.json").read_text(encoding="utf-8"))["rows"]
    for (machine, _), versions in SEEN_TO_WORK.items():
        passed = {
            row["onnxruntime"]
            for row in rows
            if row["machine"] == machine and row["variant"] == "fp32" and row["passed"]
        }
        assert set(versions) <= passed


def test_this_process_is_not_asked_again() -> None:
    assert CliRunner().invoke(cli, ["check"]).exit_code == 0
