"""What a message says of a cause: a sentence, and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgepipe import Bundle
from edgepipe.backend.machine import saturates
from edgepipe.checking.causes import RESULTS, TOKENIZER, explain_deviation, explain_not_finite, explain_swap
from edgepipe.checking.deviation import Deviation
from tests.runtime.small_bundle import rewrite_manifest, write_bundle

FOUND = Deviation(0.3, 0.4, 0.1, 2, "logits", 1, 9, passed=False)


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "q4f16"])
def test_halves_overflow(dtype: str) -> None:
    assert explain_not_finite(dtype) == f"{dtype} overflows here: numbers beyond what 16 bits hold; take fp32"
    assert "its weights are damaged" in explain_not_finite("int8")


def test_sums_of_8_bits(tmp_path: Path) -> None:
    bundle = Bundle.load(write_bundle(tmp_path, ("fp32", "int8")))
    plain = explain_deviation(bundle, "int8", FOUND, "onnxruntime 1.32.0", is_reference=True)
    assert plain.startswith("onnxruntime 1.32.0 computes something else on this processor")
    record = json.loads((tmp_path / "edgepipe.json").read_text())
    record["variants"]["int8"]["recipe"]["reduce_range"] = False
    rewrite_manifest(tmp_path, record)
    wide = Bundle.load(tmp_path)
    found = explain_deviation(wide, "int8", FOUND, "onnxruntime 1.32.0", is_reference=True)
    assert found.startswith("sums of 8-bit products overflow on this processor" if saturates() else "onnxruntime")


def test_the_vector_of_a_text(tmp_path: Path) -> None:
    bundle = Bundle.load(write_bundle(tmp_path))
    pooled = Deviation(0.3, 0.4, 0.1, 2, "sentence_embedding", 0, 0, passed=False)
    assert "pooling" in explain_deviation(bundle, "fp32", pooled, "onnxruntime 1.32.0", is_reference=True)


def test_another_engine(tmp_path: Path) -> None:
    bundle = Bundle.load(write_bundle(tmp_path))
    found = explain_deviation(bundle, "fp32", FOUND, "openvino 2026.4.1", is_reference=False)
    assert found == "openvino 2026.4.1 computes something else: check it with --device cpu"


def test_each_says_what_to_do() -> None:
    for cause in (TOKENIZER, RESULTS, explain_swap("int8", "w8")):
        assert cause.endswith("export or download the bundle again")
