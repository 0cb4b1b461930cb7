"""The table of commands: every file is in it, and one more is a file and a name."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from edgepipe.cli import main as command_line
from edgepipe.cli.main import COMMANDS, cli
from tests.runtime.processes import run_python

WITHOUT_A_COMMAND = {"__init__", "main", "exit_status", "shared_options"}


def test_every_file_is_a_command_of_the_table() -> None:
    files = {path.stem for path in Path(command_line.__file__).parent.glob("*.py")}
    assert files - WITHOUT_A_COMMAND == set(COMMANDS), "a new command: add its name to COMMANDS in edgepipe/cli/main.py"
    for name in COMMANDS:
        assert cli.commands[name].name == name


def test_one_more_command(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def dummy() -> None:
        """Say hello."""
        click.echo("hello")

    module = ModuleType("edgepipe.cli.dummy")
    module.dummy = dummy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "edgepipe.cli.dummy", module)
    monkeypatch.setattr(command_line, "COMMANDS", (*COMMANDS, "dummy"))
    assert CliRunner().invoke(cli, ["dummy"]).output == "hello\n"
    assert "Say hello." in CliRunner().invoke(cli, ["--help"]).output


def test_an_unknown_command_is_refused_with_the_nearest() -> None:
    result = CliRunner().invoke(cli, ["runn"])
    assert result.exit_code == 2
    assert "No such command 'runn'" in result.output


def test_help_needs_no_engine() -> None:
    program = """
        import sys
        from click.testing import CliRunner
        from edgepipe.cli.main import cli
        assert CliRunner().invoke(cli, ["--help"]).exit_code == 0
        print(*{name.partition(".")[0] for name in sys.modules})
    """
    assert not {"onnxruntime", "tokenizers", "torch"} & set(run_python(program).split())
