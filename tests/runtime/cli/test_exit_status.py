"""How the command ends where its streams are closed, cannot write everything, or lose their reader."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.runtime.probed_bundle import turn_weights, write_probed_bundle
from tests.runtime.small_bundle import write_bundle

TEXT = "Zoë 😀"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"))


def run(*arguments: object, redirected: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """``edgepipe`` with the streams that a shell gives it."""
    command = shlex.join([sys.executable, "-m", "edgepipe", *map(str, arguments)])
    return subprocess.run(
        ["sh", "-c", f"exec {command} {redirected}"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | env,
        timeout=120,
        check=False,
    )


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a Unix shell")


@pytest.mark.parametrize("arguments", [["run"], ["--help"]])
def test_a_reader_that_goes_away_is_no_failure(folder: Path, tmp_path: Path, arguments: list[str]) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("a b c\n" * 20000)
    command = [sys.executable, "-m", "edgepipe", *arguments, *([folder, "-f", texts] if arguments == ["run"] else [])]
    reading, writing = os.pipe()
    with subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, text=True) as process:
        os.close(writing)
        if arguments == ["run"]:
            assert os.read(reading, 1)
        os.close(reading)
        _, told = process.communicate(timeout=120)
    assert (process.returncode, told) == (0, "")


@pytest.fixture(scope="module")
def altered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that gives something else than where it was made."""
    path = write_probed_bundle(tmp_path_factory.mktemp("altered"), ("fp32",))
    turn_weights(path, "fp32")
    return path


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_a_comparison_that_fails_ends_with_1(altered: Path, options: list[str]) -> None:
    done = run("check", altered, *options)
    assert (done.returncode, done.stderr) == (1, "")
    assert "computes something else" in done.stdout


def test_one_that_passes_ends_with_0() -> None:
    assert run("check").returncode == 0


def test_the_status_of_a_command_is_that_of_the_process() -> None:
    program = """
        import click
        from edgepipe.cli.exit_status import run_and_exit

        @click.command()
        def fail():
            raise click.exceptions.Exit(7)

        run_and_exit(lambda: fail.main([], standalone_mode=False))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False, timeout=60)
    assert done.returncode == 7


def test_standard_output_that_is_closed(folder: Path) -> None:
    done = run("run", folder, "a", redirected=">&-")
    assert (done.returncode, done.stderr) == (1, "Error: standard output is closed\n")


def test_standard_input_that_is_closed(folder: Path) -> None:
    done = run("run", folder, redirected="<&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert run("run", folder, "a", redirected="<&-").stdout.endswith("\ta\n")


def test_an_encoding_that_lacks_characters(folder: Path) -> None:
    done = run("run", folder, TEXT, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\t" + TEXT.encode("ascii", "backslashreplace").decode() + "\n")
    assert run("run", folder, TEXT, PYTHONIOENCODING="utf-8").stdout.endswith(f"\t{TEXT}\n")
