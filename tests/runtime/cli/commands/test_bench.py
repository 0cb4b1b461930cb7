"""``edgepipe bench``: what of the command line reaches the measurement."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from edgepipe.benchmarking.results import BenchReport
from edgepipe.cli.main import cli
from tests.runtime.small_bundle import write_bundle


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """What is to be measured; nothing is, since that takes seconds."""
    found: list[tuple[Any, dict[str, Any]]] = []

    def measure(bundle: Any, **options: Any) -> Any:
        found.append((bundle, options))
        options.pop("progress")("warming up", 0, 1)
        return SimpleNamespace(to_json=lambda: json.dumps({"bundle": str(bundle)}), table=lambda width: "a table")

    monkeypatch.setattr("edgepipe.benchmarking.benchmark.bench", measure)
    return found


def test_shapes_and_session_are_passed_on(calls: list[tuple[Any, dict[str, Any]]]) -> None:
    arguments = ["bench", "words", "--batch", "1, 4", "--length", "16", "--threads", "2", "--dtype", "int8", "--json"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert json.loads(result.stdout) == {"bundle": "words"}
    assert result.stderr == "warming up\n"
    assert calls == [
        (
            "words",
            {
                "batch_sizes": (1, 4),
                "lengths": (16,),
                "dtype": "int8",
                "device": None,
                "num_threads": 2,
                "low_memory": False,
            },
        )
    ]


def test_without_a_bundle_the_embedded_model_is_measured(calls: list[tuple[Any, dict[str, Any]]]) -> None:
    assert CliRunner().invoke(cli, ["bench", "--quiet"], catch_exceptions=False).output == "a table\n"
    [(bundle, options)] = calls
    assert (Path(bundle) / "config.json").is_file()
    assert (options["batch_sizes"], options["lengths"]) == ((1, 8), None)


@pytest.mark.parametrize("option", ["--batch", "--length"])
@pytest.mark.parametrize("text", ["", ",", "1,", "0", "1,-2", "1.5", "a"])
def test_what_are_no_whole_numbers(option: str, text: str, calls: list[tuple[Any, dict[str, Any]]]) -> None:
    result = CliRunner().invoke(cli, ["bench", "words", option, text])
    assert result.exit_code == 2
    assert f"{option} takes whole numbers of at least 1, comma-separated, got {text!r}" in result.output
    assert calls == []


def test_json_has_every_figure_of_the_report(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    arguments = ["bench", str(folder), "--batch", "1", "--length", "4", "--json", "-q"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert list(json.loads(result.stdout)) == list(BenchReport.__dataclass_fields__)
    assert result.stderr == ""


def test_a_profile() -> None:
    arguments = ["bench", "--profile", "--batch", "1", "--length", "4", "--quiet"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 x 4 tokens" in result.stdout
    assert "\ntokenize " in result.stdout
