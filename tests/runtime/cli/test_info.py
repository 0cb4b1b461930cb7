"""``edgepipe info`` on what a stranger's manifest may hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner

from edgepipe.bundle.layout import MANIFEST_NAME
from edgepipe.bundle.manifest import Manifest
from edgepipe.cli.main import cli
from tests.runtime.small_bundle import write_bundle


def test_half_a_character_in_a_name(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    path = folder / MANIFEST_NAME
    manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
    odd = replace(manifest, source=replace(manifest.source, model="a\ud800b"), labels=("\udfff", "fair", "good"))
    path.write_text(odd.to_json(), encoding="utf-8")
    assert Manifest.from_json(path.read_text(encoding="utf-8")) == odd

    shown = CliRunner().invoke(cli, ["info", str(folder)])
    assert shown.exit_code == 0
    assert "a\\ud800b" in shown.output
    assert "\\udfff, fair, good" in shown.output
    as_json = CliRunner().invoke(cli, ["info", str(folder), "--json"])
    assert as_json.exit_code == 0
    assert json.loads(as_json.output)["source"] == "a\ud800b"


def test_only_facts_are_shown(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    shown = CliRunner().invoke(cli, ["info", str(folder)])
    assert "labels         bad, fair, good\n" in shown.output
    path = folder / MANIFEST_NAME
    manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
    path.write_text(replace(manifest, labels=()).to_json(), encoding="utf-8")
    shown = CliRunner().invoke(cli, ["info", str(folder)])
    assert shown.exit_code == 0
    facts = shown.output.partition("\n\n")[0].splitlines()
    assert [line[:15].strip() for line in facts] == [
        "path",
        "task",
        "source",
        "architecture",
        "max length",
        "default dtype",
    ]
    assert all(line[15:].strip() for line in facts)
