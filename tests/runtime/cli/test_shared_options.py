"""Options that several commands have, and an exporter that is missing."""

from __future__ import annotations

import inspect
import json
from typing import Any

import click
import pytest
from click.testing import CliRunner

from edgepipe import pipeline
from edgepipe.cli.shared_options import load_exporter, session_options
from tests.runtime.processes import run_python


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
