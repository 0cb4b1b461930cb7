"""``optimum-cli export edgepipe``: what of optimum's command line reaches our export, and its names of tasks."""

from __future__ import annotations

import re
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import click
import pytest

from edgepipe import Bundle, pipeline
from edgepipe.bundle.tasks import TASKS, task_names
from edgepipe.cli.commands.export import export as export_command
from edgepipe.cli.optimum_export import AUTO, SYNONYMS, add_arguments, export_and_exit, resolve_task
from edgepipe.errors import TaskError
from tests.runtime.small_bundle import write_bundle
from tests.tiny import build

Calls = list[tuple[Any, ...]]
OPTIONS = [parameter for parameter in export_command.params if isinstance(parameter, click.Option)]


def make_parser() -> ArgumentParser:
    parser = ArgumentParser("optimum-cli export edgepipe")
    add_arguments(parser)
    return parser


def run_optimum_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "optimum.commands.optimum_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What the exporter is asked for; it answers with a bundle that is there."""
    found: Calls = []

    def export(model: str, output: str, **options: Any) -> Bundle:
        found.append((model, output, options))
        return Bundle.load(write_bundle(Path(output)))

    monkeypatch.setattr("edgepipe_export.export", export)
    return found


def test_optimum_finds_the_command() -> None:
    """In the environment of the tests; ``tests/packaging/test_optimum.py`` has it from the wheel in one of its own."""
    assert "edgepipe" in run_optimum_cli("export", "--help").stdout
    usage = run_optimum_cli("export", "edgepipe", "--help").stdout
    assert {option.opts[0] for option in OPTIONS} <= set(re.findall(r"--[a-z-]+", usage))


def test_optimum_exports_a_checkpoint(tmp_path: Path) -> None:
    build("bert", directory=tmp_path / "checkpoint", labels=("bad", "fair", "good"))
    arguments = ("-m", str(tmp_path / "checkpoint"), str(tmp_path / "bundle"), "--task", "sequence-classification")
    done = run_optimum_cli("export", "edgepipe", *arguments, "--no-verify")
    assert done.returncode == 0, done.stderr
    bundle = Bundle.load(tmp_path / "bundle")
    assert bundle.task == "text-classification"
    assert pipeline(model=bundle)("I love this")[0]["label"] in ("bad", "fair", "good")


def test_the_options_are_those_of_our_export() -> None:
    ours = {(tuple(option.opts), option.name, option.is_flag) for option in OPTIONS}
    actions = [action for action in make_parser()._actions if action.dest not in ("help", "model", "output")]
    assert {(tuple(action.option_strings), action.dest, action.nargs == 0) for action in actions} == ours
    assert not any(option.multiple or option.secondary_opts for option in OPTIONS), "add_arguments knows no such option"


def test_help_has_the_values_and_the_defaults() -> None:
    said = " ".join(make_parser().format_help().split())
    prefer = "What --dtype auto chooses by; and with speed a repair weighs time. [default: speed]"
    assert f"--prefer {{speed,size,quality}} {prefer}" in said
    assert "1 % of other decisions" in said


def test_what_optimum_reads_is_what_the_exporter_gets(
    calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same call as that of ``edgepipe export`` with the same options."""
    given = [
        *("--dtype", "fp32,int8", "--task", "causal-lm-with-past", "--max-drop", "2.5", "--opset", "19"),
        *("--no-verify", "--overwrite", "--calibration", str(tmp_path / "-texts.txt"), "--revision=-x"),
    ]
    arguments = make_parser().parse_args(["--model", "a-model", str(tmp_path / "a"), *given])
    with pytest.raises(SystemExit) as raised:
        export_and_exit(arguments)
    assert raised.value.code == 0
    assert "labels         bad, fair, good\n" in capsys.readouterr().out
    own = ["a-model", str(tmp_path / "b"), *given]
    own[own.index("causal-lm-with-past")] = "text-generation"
    export_command.main(own, standalone_mode=False)
    (model, _, options), (own_model, _, own_options) = calls
    assert (model, options) == (own_model, own_options)
    assert options["calibration"] == tmp_path / "-texts.txt"


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        (["out"], "give --model, or --recipe", 2),
        (["-m", "a-model", "out", "--recipe", "x"], "give OUT alone with --recipe", 2),
        (["-m", "a-model", "out", "--prefer", "beauty"], "'beauty' is not one of 'speed', 'size', 'quality'", 2),
        (["-m", "a-model", "out", "--opset", "new"], "'new' is not a valid integer", 2),
        (["-m", "a-model", "out", "--task", "image-classification"], "no task 'image-classification'", 1),
        (["-m", "a-model", "out", "--task", "causal_lm-with-past"], "did you mean 'causal-lm'?", 1),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line(
    calls: Calls, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str, status: int
) -> None:
    with pytest.raises(SystemExit) as raised:
        export_and_exit(make_parser().parse_args(arguments))
    assert raised.value.code == status
    assert said in capsys.readouterr().err
    assert calls == []


def test_an_option_is_not_guessed_from_its_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["-m", "a-model", "out", "--over"])
    assert "unrecognized arguments: --over" in capsys.readouterr().err


@pytest.mark.parametrize("name", [None, AUTO])
def test_without_a_task_the_checkpoint_tells(name: str | None) -> None:
    assert resolve_task(name) is None


def test_our_names_stay_what_they_are() -> None:
    assert {resolve_task(name) for name in [*task_names(), "translation_en_to_fr"]} == {
        *task_names(),
        "translation_en_to_fr",
    }


def test_the_synonyms_are_those_of_optimum() -> None:
    """All that lead to a task of ours, but for those that read no text, and those that are tasks to us."""
    from optimum.exporters.tasks import TasksManager

    of_images = {"image-feature-extraction", "mask-generation"}
    theirs = {
        name.removesuffix("-with-past"): task.removesuffix("-with-past")
        for name, task in TasksManager._SYNONYM_TASK_MAP.items()
    }
    leading_here = {name: task for name, task in theirs.items() if task in TASKS and name not in of_images}
    assert {name: task for name, task in leading_here.items() if name not in TASKS} == SYNONYMS
    assert {resolve_task(name) for name in leading_here if name in TASKS} <= set(TASKS)


def test_every_task_of_optimum_is_taken_or_refused() -> None:
    from optimum.exporters.tasks import TasksManager

    tasks = TasksManager.get_all_tasks()
    text_tasks = {"feature-extraction", "fill-mask", "question-answering", "sentence-similarity", "text-classification"}
    text_tasks |= {"text-generation", "text2text-generation", "token-classification"}
    for name in tasks:
        if name in text_tasks:
            assert resolve_task(name) == resolve_task(f"{name}-with-past") == name
        else:
            with pytest.raises(TaskError, match=f"edgepipe has no task '{name}'"):
                resolve_task(name)
    assert text_tasks <= set(tasks)
