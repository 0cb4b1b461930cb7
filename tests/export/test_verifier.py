from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from click.testing import CliRunner

from edgepipe import Bundle
from edgepipe.cli.main import cli
from edgepipe.errors import BundleError, CheckpointError, DeviceError, InputError, VariantError
from edgepipe_export import verify
from tests.tiny import build


def test_a_bundle_equals_the_model_it_was_made_from(exported: Bundle, checkpoint: Path) -> None:
    verification = verify(exported, checkpoint, max_drop=20)
    assert verification.passed
    checks = [(row.dtype, row.check) for row in verification.rows]
    assert checks == [
        ("all", "tokens"),
        ("fp32", "tensors, random ids"),
        ("fp32", "tensors, texts"),
        ("fp32", "pipeline"),
        ("fp32", "pipeline, function_to_apply=sigmoid, top_k=None"),
        ("fp32", "pipeline, top_k=None"),
        ("int8", "tensors, texts"),
        ("int8", "pipeline, top_k=None"),
    ]
    exact = [row for row in verification.rows if row.dtype == "fp32"]
    scored = [row for row in exact if row.check in ("tensors, random ids", "tensors, texts", "pipeline, top_k=None")]
    assert all(row.max_difference is not None and row.max_difference < 1e-4 for row in scored)
    assert "pytorch-fp32" in verification.table()
    assert json.loads(verification.to_json())["passed"] is True


def test_given_texts_and_a_loaded_model(exported: Bundle) -> None:
    model, tokenizer = build("bert", labels=("bad", "fair", "good"))
    verification = verify(exported.path, model, tokenizer=tokenizer, texts=["One.", "Two.", ""], dtype="fp32")
    assert verification.passed
    assert [row.compared for row in verification.rows if row.check == "pipeline, top_k=None"] == [3]


def test_a_text_over_the_limit_is_cut_on_both_sides(exported: Bundle, checkpoint: Path) -> None:
    assert verify(exported, checkpoint, texts=["short", "long " * 500], dtype="fp32").passed


def test_a_device_that_cannot_be_used_is_said(exported: Bundle, checkpoint: Path) -> None:
    with pytest.raises(DeviceError, match="no CUDA kernels for int8"):
        verify(exported, checkpoint, dtype="int8", device="cuda")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(DeviceError, match="has no CUDA; "):
            verify(exported, checkpoint, device="cuda")


def test_altered_weights_are_caught(copied: Path, checkpoint: Path) -> None:
    weights = copied / "onnx" / "model.onnx_data"
    content = bytearray(weights.read_bytes())
    content[-4096:] = bytes(4096)  # the size stays, so loading does not notice
    weights.write_bytes(content)
    verification = verify(copied, checkpoint, dtype="fp32")
    assert not verification.passed
    assert "FAILED: fp32 against pytorch-fp32, tensors" in verification.table()
    failed = [row for row in verification.rows if not row.passed]
    assert any("logits differs by up to" in str(row) for row in failed)


def test_another_model_is_told_apart(exported: Bundle) -> None:
    model, tokenizer = build("bert", seed=1, labels=("bad", "fair", "good"))
    assert not verify(exported, model, tokenizer=tokenizer, dtype="fp32").passed


def test_a_model_of_another_kind(exported: Bundle) -> None:
    model, tokenizer = build("roberta", labels=("bad", "fair", "good"))
    with pytest.raises(CheckpointError, match=r"has model_type 'roberta', .* has 'bert': it was not made from"):
        verify(exported, model, tokenizer=tokenizer, texts=["a"])


def test_another_tokenizer_is_told_apart(exported: Bundle, checkpoint: Path) -> None:
    _, tokenizer = build("distilbert")
    verification = verify(exported, checkpoint, tokenizer=tokenizer, texts=["a text"], dtype="fp32")
    (tokens,) = [row for row in verification.rows if row.check == "tokens"]
    assert not tokens.passed
    assert "token_type_ids" in str(tokens)


@pytest.mark.parametrize("texts", ["a text", [], [3], [None]])
def test_texts_that_are_none(exported: Bundle, checkpoint: Path, texts: Any) -> None:
    with pytest.raises(InputError, match="list of at least one text"):
        verify(exported, checkpoint, texts=texts)


def test_a_variant_that_is_not_there(exported: Bundle, checkpoint: Path) -> None:
    with pytest.raises(VariantError, match="fp32, int8"):
        verify(exported, checkpoint, dtype="q4")


def test_no_bundle_or_no_model(exported: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        verify(tmp_path, tmp_path)
    with pytest.raises(CheckpointError):
        verify(exported, tmp_path)


def test_a_page_shows_what_was_found(exported: Bundle, checkpoint: Path, tmp_path: Path) -> None:
    """And the bundle stays as it is: texts go into the page alone."""
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"A text of mine, number {number}." for number in range(40)), encoding="utf-8")
    page = tmp_path / "report.html"
    before = {path: path.read_bytes() for path in exported.path.rglob("*") if path.is_file()}
    arguments = ["verify", str(exported.path), str(checkpoint), "--calibration", str(texts), "--max-drop", "90", "-q"]
    result = CliRunner().invoke(cli, [*arguments, "--report", str(page)], catch_exceptions=False)
    assert result.output.endswith(f"\n\nreport: {page}\n")
    assert {path: path.read_bytes() for path in exported.path.rglob("*") if path.is_file()} == before

    record = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["calibration"] | {"data_sha256": ""} == {
        "origin": "texts.txt", "inputs": 40, "gold": False, "calibrated": 0, "seen": 0, "data_sha256": "",
    }  # fmt: skip
    int8 = next(entry for entry in record["variants"] if entry["dtype"] == "int8")
    assert int8["parity"]["texts"] == int8["confusion"]["decisions"] == 40
    assert int8["worst"][0]["input"].startswith("A text of mine")
    assert int8["worst"][0]["input"] in page.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    arguments = ["verify", "nowhere", "nowhere", "--report", str(tmp_path / "report.txt")]
    with pytest.raises(InputError, match=r"ends in \.html"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
