"""``edgepipe info`` on what a stranger's manifest may hold."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepipe import Bundle
from edgepipe.bundle.layout import MANIFEST_NAME
from edgepipe.bundle.manifest import Manifest, Parity
from edgepipe.cli.commands.info import _describe_cache
from edgepipe.cli.main import cli
from tests.runtime.models.decoder.small_decoders import VOCABULARY, causal_bundle, seq2seq_bundle
from tests.runtime.small_bundle import LABELS, flip_last_byte, record_precision, write_bundle
from tests.runtime.terminal import run_on_terminal


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


def test_a_precision_without_files_of_its_own(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    record_precision(folder, "bf16", Parity("fp32", 100, {"logits": 0.04}, None, 1.0, "", True, device="openvino"))
    shown = CliRunner().invoke(cli, ["info", str(folder), "--check", "--json"])
    assert shown.exit_code == 0
    found = json.loads(shown.output)
    fp32, bf16 = found["variants"]
    assert (bf16["dtype"], bf16["reference"], bf16["passed"]) == ("bf16", "fp32", True)
    assert (bf16["files"], bf16["bytes"]) == (fp32["files"], fp32["bytes"])
    assert found["checked_files"] == len(fp32["files"]) + 3  # config and tokenizer


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
        "digest",
    ]
    assert all(line[15:].strip() for line in facts)


def test_json_says_what_text_says_and_more(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", ("fp32", "int8"))
    result = CliRunner().invoke(cli, ["info", str(folder), "--json", "--check", "-q"], catch_exceptions=False)
    found = json.loads(result.stdout)
    assert (found["task"], found["labels"], found["default_dtype"]) == ("text-classification", list(LABELS), "fp32")
    assert [variant["dtype"] for variant in found["variants"]] == ["fp32", "int8"]
    assert all(variant["bytes"] > 0 and variant["files"] for variant in found["variants"])
    assert found["checked_files"] == 7
    assert json.loads(CliRunner().invoke(cli, ["info", str(folder), "--json"]).stdout)["checked_files"] is None


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [40, 60])
def test_lines_fit_a_narrow_terminal(tmp_path: Path, columns: int) -> None:
    folder = write_bundle(tmp_path / "bundle", ("fp32", "int8"))
    shown = run_on_terminal([sys.executable, "-m", "edgepipe", "info", folder.name], columns=columns, cwd=tmp_path)
    assert shown.status == 0
    assert all(len(line) <= columns or len(line.split()) == 2 for line in shown.lines), "a name is not cut"
    wide = run_on_terminal([sys.executable, "-m", "edgepipe", "info", folder.name], columns=200, cwd=tmp_path)
    assert len(wide.lines) < len(shown.lines)
    assert [word for line in wide.lines for word in line.split()][:8] == (
        [word for line in shown.lines for word in line.split()][:8]
    )


def test_the_digest_alone(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    shown = CliRunner().invoke(cli, ["info", str(folder), "--digest"])
    assert (shown.exit_code, shown.output) == (0, f"{Bundle.load(folder).digest}\n")
    flip_last_byte(folder / "onnx" / "model.onnx_data")
    assert CliRunner().invoke(cli, ["info", str(folder), "--digest", "--check"]).exit_code == 1
    (folder / MANIFEST_NAME).unlink()
    shown = CliRunner().invoke(cli, ["info", str(folder), "--digest"])
    assert shown.exit_code == 1


def test_which_nodes_run_where_on_a_device(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    device = "CPUExecutionProvider"
    found = json.loads(CliRunner().invoke(cli, ["info", str(folder), "--device", device, "--json"]).stdout)
    assert (found["device"], found["device_dtype"]) == (device, "fp32")
    assert found["nodes"][device]["Gather"] == 1
    shown = CliRunner().invoke(cli, ["info", str(folder), "--device", device]).stdout
    assert f"nodes          {device} {sum(found['nodes'][device].values())} nodes" in shown
    assert json.loads(CliRunner().invoke(cli, ["info", str(folder), "--device", "cpu", "--json"]).stdout)["nodes"] == {}
    wrong = CliRunner().invoke(cli, ["info", str(folder), "--device", "xyz"])
    assert wrong.exit_code == 1


def test_what_a_token_takes_in_the_cache(tmp_path: Path) -> None:
    decoder, both = causal_bundle(tmp_path / "decoder", exported=True), seq2seq_bundle(tmp_path / "both", shared=True)
    shown = CliRunner().invoke(cli, ["info", str(decoder.path)], catch_exceptions=False)
    assert f"cache          {8 * VOCABULARY} bytes a token\n" in shown.output
    shown = CliRunner().invoke(cli, ["info", str(both.path)], catch_exceptions=False)
    assert f"{4 * VOCABULARY} bytes a token and {4 * VOCABULARY} a token of the source\n" in shown.output
    found = json.loads(CliRunner().invoke(cli, ["info", str(decoder.path), "--json"]).stdout)["variants"][0]
    assert (found["cache_bytes_per_token"], found["cache_window"]) == (8 * VOCABULARY, None)
    windowed = {"cache_bytes_per_token": 3000, "cache_bytes_per_source_token": 0, "cache_bytes_in_window": 2000}
    windowed |= {"cache_dtype": None, "dtype": "w8"}
    said = _describe_cache(windowed | {"cache_window": 512})
    rounded = _describe_cache(windowed | {"cache_window": None, "cache_dtype": "int8"})
    assert rounded == "3,000 bytes a token in int8 (w8)"
    assert said == "3,000 bytes a token, 2,000 of them for the last 512 tokens alone"
