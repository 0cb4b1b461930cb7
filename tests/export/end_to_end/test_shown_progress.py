"""An export as somebody sees it who starts it on a terminal, stops it, or reads the log of a CI."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgepipe_export import export
from edgepipe_export.output.progress import Progress
from tests.runtime.terminal import run_on_terminal


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_an_export_that_is_interrupted_on_a_terminal(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "-m", "edgepipe", "export", str(checkpoint), str(output), "--no-verify"]
    shown = run_on_terminal(command, interrupt_at="  trace ")
    assert shown.status == 130
    assert any(re.fullmatch(r"  load +━+ +\d+ s \(stage 2 of 4\)", line) for line in shown.lines)
    assert re.fullmatch(r"  trace +stopped", shown.lines[-2])
    assert shown.lines[-1] == "interrupted"
    assert shown.raw.count("\x1b[?25l") == shown.raw.count("\x1b[?25h") == 1, "the cursor is back"
    assert list(tmp_path.iterdir()) == []


def test_an_export_in_a_log(checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgepipe", "export", str(checkpoint), str(tmp_path / "out"), "--no-verify"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, timeout=600)
    stages = [line for line in done.stderr.splitlines() if re.search(r"\d\.\d s$", line)]
    assert [line.split()[0] for line in stages] == ["resolve", "load", "trace", "write"]
    others = set(done.stderr.splitlines()) - set(stages)
    assert all(re.fullmatch(r"  \w+ +[\d a-z]+ \(stage \d of 4\)", line) for line in others), "of stages that take long"
    assert "\x1b" not in done.stderr
    assert json.loads(done.stdout)["path"] == str(tmp_path / "out")


@pytest.mark.parametrize(
    "options",
    [
        {"dtypes": ("fp32", "int8"), "verify": False},
        {"dtypes": ("int8",), "max_drop": 90},
        {"dtypes": "auto", "max_drop": 90, "for_report": True},
    ],
)
def test_the_number_of_stages_is_known_once_the_task_is(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    told: list[tuple[str, int, int]] = []

    class Watched(Progress):
        @contextmanager
        def stage(self, name: str, *, undisturbed: bool = False) -> Iterator[None]:
            with super().stage(name, undisturbed=undisturbed):
                stage = self._stage
                assert stage is not None
                told.append((name, stage.number, stage.count))
                yield

    monkeypatch.setattr("edgepipe_export.exporter.Progress", Watched)
    export(checkpoint, tmp_path / "out", **options)
    assert told[0] == ("resolve", 1, 0)
    assert [stage[1:] for stage in told[1:]] == [(number, len(told)) for number in range(2, len(told) + 1)]
    assert told[-1][0] == "write"
