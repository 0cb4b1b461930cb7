"""The table of commands: every file is in it, and one more is a file and a name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from edgepipe.backend.onnxruntime.plugins.plugin_packages import installed_plugins
from edgepipe.cli import commands
from edgepipe.cli import main as command_line
from edgepipe.cli.main import COMMANDS, cli
from tests.runtime.processes import run_python


def test_every_file_is_a_command_of_the_table() -> None:
    [folder] = commands.__path__
    files = {path.stem.replace("_", "-") for path in Path(folder).glob("*.py")}
    assert files - {"--init--"} == set(COMMANDS), "a new command: add its name to COMMANDS in edgepipe/cli/main.py"
    for name in COMMANDS:
        assert cli.commands[name].name == name


def test_one_more_command(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def dummy() -> None:
        """Say hello."""
        click.echo("hello")

    module = ModuleType("edgepipe.cli.commands.dummy")
    module.dummy = dummy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "edgepipe.cli.commands.dummy", module)
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


def complete(*words: str) -> list[tuple[str, str]]:
    """What the shell is offered for the last word, with the kind of each."""
    *before, last = words
    found = BashComplete(cli, {}, "edgepipe", "_EDGEPIPE_COMPLETE").get_completions(before, last)
    return [(item.type, item.value) for item in found]


def plain(*words: str) -> list[str]:
    return [value for kind, value in complete(*words) if kind == "plain"]


def test_the_shell_completes_commands_and_options() -> None:
    assert plain("") == list(COMMANDS)
    assert plain("re") == ["recipes", "report"]
    for name, command in cli.commands.items():
        options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        assert set(plain(name, "--")) == options | {"--help"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("export", "--recipe", "fea"), ["feature-extraction"]),
        (("export", "--task", "fill"), ["fill-mask"]),
        (("export", "--dtype", "fp32,int8-"), ["fp32,int8-static", "fp32,int8-rows"]),
        (("export", "--target", "avx"), ["avx2", "avx512"]),
        (("export", "--prefer", "s"), ["speed", "size"]),
        (("run", "--dtype", "w"), ["w8", "w8-rows"]),
        (("bench", "--device", ""), ["cpu", "cuda", "auto", "openvino", *installed_plugins()]),
    ],
)
def test_the_shell_completes_values(words: tuple[str, ...], expected: list[str]) -> None:
    assert plain(*words) == expected


@pytest.mark.parametrize("command", ["bench", "demo", "export", "info", "report", "run", "verify"])
def test_the_shell_completes_folders_where_bundles_are_named(command: str) -> None:
    assert complete(command, "mod") == [("dir", "mod")]


@pytest.mark.parametrize(
    ("shell", "expected"), [("bash", "plain,export"), ("zsh", "plain\nexport\n"), ("fish", "plain,export")]
)
def test_each_shell_is_answered_in_its_own_way(shell: str, expected: str) -> None:
    script = edgepipe(_EDGEPIPE_COMPLETE=f"{shell}_source")
    assert "_edgepipe_completion" in script
    words = {"COMP_WORDS": "edgepipe exp", "COMP_CWORD": "exp" if shell == "fish" else "1"}
    assert expected in edgepipe(_EDGEPIPE_COMPLETE=f"{shell}_complete", **words)


def edgepipe(**env: str) -> str:
    command = [sys.executable, "-m", "edgepipe"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=os.environ | env).stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_itself_completes(tmp_path: Path) -> None:
    program = tmp_path / "edgepipe"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edgepipe "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(_EDGEPIPE_COMPLETE=bash_source edgepipe)"
        complete -p edgepipe
        COMP_WORDS=(edgepipe export --dt) COMP_CWORD=2
        _edgepipe_completion edgepipe
        echo "${COMPREPLY[@]}"
    """
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True, env=environment)
    registered, completed = done.stdout.splitlines()
    assert registered.endswith("-F _edgepipe_completion edgepipe")
    assert completed == "--dtype"


@pytest.mark.parametrize("words", ["edgepipe ", "edgepipe run --dtype "])
def test_completion_is_cheap(words: str) -> None:
    program = """
        import sys
        from edgepipe.cli.main import main
        try:
            main()
        except SystemExit:
            print(*{name.partition(".")[0] for name in sys.modules})
    """
    env = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split())), "_EDGEPIPE_COMPLETE": "bash_complete"}
    *completed, modules = run_python(program, env=env).splitlines()
    assert len(completed) > 5
    assert not {"numpy", "onnxruntime", "tokenizers", "torch", "rich"} & set(modules.split())


# A server has no result, and a log that is JSON unless --log says otherwise.
@pytest.mark.parametrize("name", sorted({*COMMANDS} - {"serve"}))
def test_every_command_has_json(name: str) -> None:
    options = {option for parameter in cli.commands[name].params for option in parameter.opts}
    assert "--json" in options


@pytest.mark.parametrize("name", sorted({*COMMANDS} - {"env", "recipes"}))
def test_every_command_that_may_show_more_than_its_result_has_quiet(name: str) -> None:
    options = {option for parameter in cli.commands[name].params for option in parameter.opts}
    assert {"--quiet", "-q"} <= options
