"""Options that several commands have, and an exporter that is missing."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import click
import pytest
from click.testing import CliRunner

from edgepipe import pipeline
from edgepipe.cli.shared_options import complete_name, load_exporter, parse_options, quiet_option, session_options
from edgepipe.errors import InputError
from tests.runtime.processes import run_python
from tests.runtime.terminal import Shown, run_on_terminal


@click.command()
@session_options
def show(**options: Any) -> None:
    """Say what was given."""
    click.echo(json.dumps(options))


def test_the_options_of_a_session_are_those_of_a_pipeline() -> None:
    names = {parameter.name for parameter in show.params}
    assert names == {"dtype", "device", "num_threads", "low_memory"}
    assert names <= set(inspect.signature(pipeline).parameters)
    shown = CliRunner().invoke(show, ["--threads", "2", "--device", "cuda:1", "--low-memory"])
    assert json.loads(shown.output) == {"dtype": None, "device": "cuda:1", "num_threads": 2, "low_memory": True}


@pytest.mark.parametrize("threads", ["0", "-1", "1.5", "many"])
def test_what_is_no_number_of_threads(threads: str) -> None:
    result = CliRunner().invoke(show, ["--threads", threads])
    assert result.exit_code == 2
    assert "'--threads'" in result.output


def test_the_exporter_is_loaded_where_it_is_installed() -> None:
    assert load_exporter().__name__ == "edgepipe_export"


def test_an_exporter_that_is_not_installed_says_how_to() -> None:
    program = """
        import sys
        from edgepipe.cli.main import main
        sys.argv[0] = "edgepipe"
        sys.stderr = sys.stdout
        try:
            main()
        except SystemExit as left:
            print(left.code)
            raise SystemExit(0)
    """
    said = run_python(program, "verify", "a-bundle", "a-model", blocked=("edgepipe_export",))
    assert said.startswith("Error: the exporter is not installed (No module named 'edgepipe_export' ")
    assert said.endswith("pip install 'edgepipe[export]'\n1\n")


STEPS = """
    import sys
    from edgepipe.cli.shared_options import show_steps
    with show_steps(hidden="hidden" in sys.argv) as show:
        for done in range(4):
            show(f"cold start, round {done + 1} of 4", done, 4)
    print("result")
"""


def on_terminal(*arguments: str, columns: int = 80) -> Shown:
    return run_on_terminal([sys.executable, "-c", textwrap.dedent(STEPS), *arguments], columns=columns)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [40, 60, 80])
def test_steps_are_a_bar_on_a_terminal(columns: int) -> None:
    shown = on_terminal(columns=columns)
    bars = [line for line in shown.lines if "%" in line]
    assert bars[0].startswith("cold start, round 1")
    assert bars[-1].rstrip().endswith("100%")
    assert max(map(len, shown.lines)) < columns
    assert all("[" in line for line in bars) == (columns > 40)
    assert shown.lines[-1] == "result"
    assert not shown.coloured


def test_steps_are_lines_elsewhere_and_nothing_where_they_are_hidden() -> None:
    command = [sys.executable, "-c", textwrap.dedent(STEPS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.splitlines() == [f"cold start, round {number} of 4" for number in range(1, 5)]
    hidden = subprocess.run([*command, "hidden"], capture_output=True, text=True, check=True, timeout=60)
    assert (hidden.stdout, hidden.stderr) == ("result\n", "")
    closed = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *command], capture_output=True, text=True, check=True)
    assert closed.stdout == "result\n"


def test_a_download_is_silent_where_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)

    @click.command()
    @quiet_option
    def say(quiet: bool) -> None:
        click.echo(f"{quiet} {os.environ.get('HF_HUB_DISABLE_PROGRESS_BARS')}")

    assert CliRunner().invoke(say).output == "False None\n"
    assert CliRunner().invoke(say, ["-q"]).output == "True 1\n"
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "")  # undone with the other


@pytest.mark.parametrize(
    ("incomplete", "expected"),
    [("", ["fp32", "int8", "w8"]), ("i", ["int8"]), ("fp32,", ["fp32,fp32", "fp32,int8", "fp32,w8"]), ("x", [])],
)
def test_names_are_completed_one_by_one(incomplete: str, expected: list[str]) -> None:
    complete = complete_name(lambda: ("fp32", "int8", "w8"))
    found = complete(click.Context(show), show.params[0], incomplete)
    assert [item.value for item in found] == expected


def test_options_of_a_task_are_json_where_they_can_be() -> None:
    pairs = ["top_k=2", "words=[1, 2]", "text=a=b", "none=None", "yes=True", "no=false", "empty="]
    assert parse_options(pairs) == {
        "top_k": 2,
        "words": [1, 2],
        "text": "a=b",
        "none": None,
        "yes": True,
        "no": False,
        "empty": "",
    }


@pytest.mark.parametrize("pair", ["top_k", "=2", ""], ids=["no value", "no name", "nothing"])
def test_an_option_of_a_task_has_a_name_and_a_value(pair: str) -> None:
    with pytest.raises(InputError, match="an option is NAME=VALUE"):
        parse_options([pair])
