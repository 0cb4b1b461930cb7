"""``edgepipe export``: what of the command line reaches the exporter."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import edgepipe_export
from edgepipe import Bundle
from edgepipe.cli.commands.export import TARGETS
from edgepipe.cli.commands.info import describe
from edgepipe.cli.main import cli
from edgepipe.errors import InputError
from edgepipe_export.quantization.target import TARGETS as EXPORTER_TARGETS
from edgepipe_export.quantization.target import THIS
from edgepipe_models import recipes
from tests.runtime.small_bundle import write_bundle

SIGNATURE = inspect.signature(edgepipe_export.export)
Calls = list[tuple[Any, ...]]


def test_an_export_refuses_a_report_before_its_work(tmp_path: Path) -> None:
    arguments = ["export", "no-such-model", str(tmp_path / "out"), "--report", str(tmp_path / "report.txt")]
    result = CliRunner().invoke(cli, arguments)
    assert isinstance(result.exception, InputError)
    assert "ends in .html" in str(result.exception)


def test_an_export_writes_its_report_into_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def export(_model: str, output: str, **_options: object) -> Bundle:
        return Bundle.load(write_bundle(Path(output)))

    monkeypatch.setattr("edgepipe_export.export", export)
    output = tmp_path / "out"
    arguments = ["export", "a-model", str(output), "--report", str(output / "report.html")]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert f"report: {output / 'report.html'}" in result.output
    record = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert [entry["dtype"] for entry in record["variants"]] == ["fp32"]
    assert Bundle.load(output).check()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the exporter is asked for; it answers with a bundle that is there."""
    found: list[tuple[Any, ...]] = []

    def export(model: str, output: str, **options: Any) -> Bundle:
        found.append((model, output, options))
        return Bundle.load(write_bundle(Path(output)))

    monkeypatch.setattr("edgepipe_export.export", export)
    return found


def test_options_that_are_not_given_are_left_to_the_exporter(calls: Calls, tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    result = CliRunner().invoke(cli, ["export", "a-model", output], catch_exceptions=False)
    assert result.exit_code == 0
    assert "labels         bad, fair, good\n" in result.output
    [(model, out, options)] = calls
    assert (model, out) == ("a-model", output)
    assert {name for name, value in options.items() if value not in (None, False)} == {
        *("dtypes", "verify", "target", "kv_cache_dtype", "prefer", "progress"),
    }
    assert (options["dtypes"], options["verify"]) == (("fp32",), True)
    assert set(options) <= set(SIGNATURE.parameters)


def test_json_is_one_document_with_what_the_bundle_is(calls: Calls, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = CliRunner().invoke(cli, ["export", "a-model", str(output), "--json"], catch_exceptions=False)
    found = json.loads(result.stdout)
    assert found == describe(Bundle.load(output)) | {"report": None}
    assert [variant["dtype"] for variant in found["variants"]] == ["fp32"]
    page = tmp_path / "other" / "report.html"
    arguments = ["export", "a-model", str(tmp_path / "other"), "--report", str(page), "--json"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert json.loads(result.stdout)["report"] == str(page)
    assert page.is_file()


def test_progress_is_shown_unless_it_is_not_wanted(calls: Calls, tmp_path: Path) -> None:
    for number, options in enumerate(([], ["--quiet"], ["-q", "--json"])):
        arguments = ["export", "a-model", str(tmp_path / str(number)), *options]
        assert CliRunner().invoke(cli, arguments, catch_exceptions=False).exit_code == 0
    assert [options["progress"] for _, _, options in calls] == [True, False, False]


def test_dtypes_are_taken_apart_at_commas(calls: Calls, tmp_path: Path) -> None:
    arguments = ["export", "a-model", str(tmp_path / "out"), "--dtype", " fp32, int8,,", "--no-verify"]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert (calls[0][2]["dtypes"], calls[0][2]["verify"]) == (("fp32", "int8"), False)


def test_a_recipe_stands_for_a_model(calls: Calls, tmp_path: Path) -> None:
    known = recipes()[0]
    assert CliRunner().invoke(cli, ["export", str(tmp_path / "a"), "--recipe", known.name]).exit_code == 0
    arguments = ["export", str(tmp_path / "b"), "--recipe", known.name, "--dtype", "int8", "--revision", "mine"]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    found = [(model, *(options[name] for name in ("task", "revision", "dtypes"))) for model, _, options in calls]
    assert found == [
        (known.model, known.task, known.revision, known.dtypes),
        (known.model, known.task, "mine", ("int8",)),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give MODEL and OUT"),
        (["a-model"], "give MODEL and OUT"),
        (["a-model", "out", "more"], "give MODEL and OUT"),
        (["a-model", "out", "--recipe", "x"], "give OUT alone with --recipe"),
        (["out", "--recipe", "no-such-recipe"], "there is no recipe 'no-such-recipe'; "),
        (["a-model", "out", "--prefer", "beauty"], "'beauty' is not one of 'speed', 'size', 'quality'"),
    ],
)
def test_what_cannot_be_exported_is_a_usage_error(calls: Calls, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(cli, ["export", *arguments])
    assert (result.exit_code, said in result.output) == (2, True), result.output
    assert calls == []


def test_the_shell_completes_every_target() -> None:
    assert set(TARGETS) == {THIS, *EXPORTER_TARGETS}
