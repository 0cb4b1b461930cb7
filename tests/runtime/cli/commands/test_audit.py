"""``edgepipe audit``: what it passes on, and its exit status."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from edgepipe.cli.main import cli


def test_the_exit_status_says_whether_all_held(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def audit(directory: str, model: str | None, **options: Any) -> Any:
        calls.append((directory, model, options))
        return SimpleNamespace(passed=directory == "good", to_json=lambda: "{}", table=lambda width: "a table")

    monkeypatch.setattr("edgepipe_export.audit", audit)
    held = CliRunner().invoke(cli, ["audit", "good", "a-model", "--repair", "out", "--max-drop", "2"])
    assert (held.exit_code, held.output) == (0, "a table\n\nrepaired: out\n")
    missed = CliRunner().invoke(cli, ["audit", "bad", "--json", "-q"])
    assert (missed.exit_code, missed.output) == (1, "{}\n")
    nothing = {"calibration": None, "device": None, "allow_pickle": False}
    assert calls == [
        ("good", "a-model", nothing | {"max_drop": 2.0, "repair": Path("out"), "progress": True}),
        ("bad", None, nothing | {"max_drop": None, "repair": None, "progress": False}),
    ]
