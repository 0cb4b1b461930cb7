"""``edgepipe verify``: what of the command line reaches the comparison, and how it ends."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from edgepipe.cli.main import cli
from edgepipe.errors import InputError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is to be compared; it holds if the bundle is called so."""
    found: list[tuple[Any, ...]] = []

    def verify(bundle: str, model: str, **options: Any) -> Any:
        found.append((bundle, model, options))
        return SimpleNamespace(passed=bundle == "good", to_json=lambda: "{}", table=lambda width: "a table")

    monkeypatch.setattr("edgepipe_export.verify", verify)
    return found


def test_the_exit_status_says_whether_all_held(calls: list[tuple[Any, ...]]) -> None:
    held = CliRunner().invoke(cli, ["verify", "good", "a-model"])
    assert (held.exit_code, held.output) == (0, "a table\n")
    missed = CliRunner().invoke(cli, ["verify", "bad", "a-model", "--json"])
    assert (missed.exit_code, missed.output) == (1, "{}\n")
    unset = dict.fromkeys(["texts", "calibration", "max_drop", "base", "tokenizer", "dtype", "device"])
    nothing = unset | {"allow_pickle": False, "update": False, "progress": True}
    assert calls == [("good", "a-model", nothing), ("bad", "a-model", nothing)]


def test_nothing_is_shown_beside_the_result_where_that_is_wanted(calls: list[tuple[Any, ...]]) -> None:
    for option in ("--quiet", "-q"):
        assert CliRunner().invoke(cli, ["verify", "good", "a-model", option]).exit_code == 0
    assert [options["progress"] for _, _, options in calls] == [False, False]


def test_texts_come_before_the_lines_of_files(calls: list[tuple[Any, ...]], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"{name}\nmore of {name}\n", encoding="utf-8")
    files = ["-f", str(tmp_path / "two"), "-f", str(tmp_path / "one")]
    options = ["--calibration", "texts.csv", "--max-drop", "0.5", "--dtype", "int8", "--device", "cuda"]
    options += ["--base", "a-base", "--tokenizer", "a-tokenizer", "--allow-pickle"]
    assert CliRunner().invoke(cli, ["verify", "good", "a-model", *files, "-t", "a", "-t", "b", *options]).exit_code == 0
    assert calls[0][2] == {
        "texts": ["a", "b", "two", "more of two", "one", "more of one"],
        "calibration": Path("texts.csv"),
        "max_drop": 0.5,
        "base": "a-base",
        "tokenizer": "a-tokenizer",
        "allow_pickle": True,
        "dtype": "int8",
        "device": "cuda",
        "update": False,
        "progress": True,
    }


def test_a_file_that_is_not_there_is_an_error(calls: list[tuple[Any, ...]], tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["verify", "good", "a-model", "-f", str(tmp_path / "nothing.txt")])
    assert isinstance(result.exception, InputError)
    assert "nothing.txt" in str(result.exception)
    assert calls == []
