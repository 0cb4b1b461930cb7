"""``edgepipe report`` on bundles of several kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepipe.cli.main import cli
from edgepipe.errors import EdgepipeError
from tests.architecture.test_boundaries import HEAVY
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import write_bundle


def test_the_command_runs_without_the_exporters_packages(tmp_path: Path) -> None:
    program = """
        import sys
        from edgepipe.cli.main import main
        sys.argv[0] = "edgepipe"
        main()
    """
    bundle = write_bundle(tmp_path / "bundle")
    output = tmp_path / "report.html"
    assert run_python(program, "report", str(bundle), "-o", str(output), blocked=HEAVY).strip() == str(output)
    assert output.with_suffix(".json").is_file()


def test_without_a_name_the_page_is_written_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["report", str(bundle)], catch_exceptions=False)
    assert (result.exit_code, result.output) == (0, f"{tmp_path / 'report.html'}\n")
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "report.json").is_file()


def test_a_directory_that_is_none_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["report", str(tmp_path / "nowhere"), "-o", str(tmp_path / "page.html")])
    assert isinstance(result.exception, EdgepipeError)
    assert "nowhere" in str(result.exception)
    assert not (tmp_path / "page.html").exists()


def test_other_formats_go_to_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    arguments = ["report", str(bundle), "--format"]
    record = json.loads(CliRunner().invoke(cli, [*arguments, "json"], catch_exceptions=False).output)
    assert [entry["dtype"] for entry in record["variants"]] == ["fp32"]
    markdown = CliRunner().invoke(cli, [*arguments, "md"], catch_exceptions=False).output
    assert markdown.startswith("# ")
    assert "\n| fp32 (default) | " in markdown
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]

    result = CliRunner().invoke(cli, [*arguments, "md", "-o", "own.md"], catch_exceptions=False)
    assert result.output == f"{tmp_path / 'own.md'}\n"
    assert (tmp_path / "own.md").read_text(encoding="utf-8") == markdown


def test_json_goes_to_standard_output_and_a_file_is_written_where_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["report", str(bundle), "--json", "-q"], catch_exceptions=False)
    record = json.loads(result.stdout)
    assert [entry["dtype"] for entry in record["variants"]] == ["fp32"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]

    for name in ("page.html", "own.md"):
        arguments = ["report", str(bundle), "--json", "-o", name, "--format", name.rpartition(".")[2]]
        assert json.loads(CliRunner().invoke(cli, arguments, catch_exceptions=False).stdout) == record
        assert (tmp_path / name).is_file()
    assert json.loads((tmp_path / "page.json").read_text(encoding="utf-8")) == record
