"""Ratios, shares of the peak and the page, from figures that are easy to divide."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.peers.peers_report import build_record, markdown

MODEL: dict[str, Any] = {
    "model": "minilm",
    "task": "text-classification",
    "seconds": {
        "edgepipe fp32": {"1x16": [1.0, 2.0, 2.0], "texts": [4.0, 4.0, 4.0]},
        "onnxruntime fp32": {"1x16": [2.0, 2.0, 3.0], "texts": [5.0, 6.0, 7.0]},
        "CTranslate2 fp32": {"1x16": [4.0, 4.0, 4.0], "texts": []},
    },
    "starts": {"edgepipe fp32": [1.0, 1.0, 1.0], "onnxruntime fp32": [0.5, 1.0, 2.0]},
    "agreement": {"edgepipe fp32": {"texts": 20, "same_label": 19, "largest": 0.25, "mean": 0.125}},
    "operations": {"1x16": 2_000_000_000},
    "precisions": {"edgepipe fp32": "fp32", "onnxruntime fp32": "fp32", "CTranslate2 fp32": "fp32"},
    "peaks": {"fp32": [4e9, 2e9, 2e9]},
}
SENTENCES: dict[str, Any] = {
    "model": "minilm-sentence",
    "task": "feature-extraction",
    "seconds": {"edgepipe int8": {"texts": [1.0]}, "sentence-transformers int8, onnx": {"texts": [2.5]}},
    "starts": {"edgepipe int8": [1.0], "sentence-transformers int8, onnx": [3.0]},
    "agreement": {"edgepipe int8": {"texts": 20, "least_cosine": 0.99, "largest": 0.1, "mean": 0.01}},
    "operations": {},
    "precisions": {},
    "peaks": {},
}


@pytest.fixture
def record() -> dict[str, Any]:
    return build_record([MODEL, SENTENCES], "a machine", 3, {"transformers.js fp32": "Node with npm is not installed"})


def test_a_ratio_is_of_the_same_round(record: dict[str, Any]) -> None:
    beside_onnxruntime, beside_ctranslate2 = record["models"][0]["ratios"]
    assert beside_onnxruntime["peer"] == "onnxruntime fp32"
    assert beside_onnxruntime["speed"]["1x16"] == {"median": 1.5, "worst": 1.0}
    assert beside_onnxruntime["speed"]["start"] == {"median": 1.0, "worst": 0.5}
    assert [*beside_ctranslate2["speed"]] == ["1x16"], "it reads no texts"


def test_a_share_is_of_the_same_round_s_peak(record: dict[str, Any]) -> None:
    assert record["models"][0]["shares"] == {
        "edgepipe fp32": {"1x16": 0.5},
        "onnxruntime fp32": {"1x16": pytest.approx(1 / 3)},
        "CTranslate2 fp32": {"1x16": 0.25},
    }


def test_the_page(record: dict[str, Any]) -> None:
    page = markdown(record)
    for line in (
        "transformers.js fp32 is left out: Node with npm is not installed.",
        "## minilm, text-classification",
        "| edgepipe fp32 | onnxruntime fp32 | 1.50 (1.00) | 1.50 (1.25) | 1.00 (0.50) |",
        "| share of the peak | of | 1x16 |",
        "| edgepipe fp32 | fp32 | 50% |",
        "| edgepipe fp32 | 19 of 20 | 0.25 | 0.125 |",
        "## minilm-sentence, feature-extraction",
        "| edgepipe int8 | sentence-transformers int8, onnx | 2.50 (2.50) | 3.00 (3.00) |",
        "| beside sentence-transformers fp32 | least cosine | largest difference of a value | mean |",
        "| edgepipe int8 | 0.99000 | 0.1 | 0.01 |",
    ):
        assert f"\n{line}\n" in page
    assert "fp32 2 GOP/s" in page
