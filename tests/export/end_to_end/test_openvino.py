"""Bundles on OpenVINO: transformers' results for every task of an encoder, and a decoder that it can run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe_export import export
from tests.conftest import Exported
from tests.tiny import HEADS, build
from tests.tiny.calls import TEXTS, compare_calls
from tests.tiny.generative import build_generative

SEARCH: dict[str, Any] = {"do_sample": False, "max_new_tokens": 8}


@pytest.fixture(scope="module", autouse=True)
def _needs_openvino() -> None:
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this system, or is not installed")


@pytest.mark.parametrize("task", [task for task in HEADS if task != "zero-shot-classification"])
def test_every_task_gives_the_results_of_transformers(task: str, tiny_export: Callable[..., Exported]) -> None:
    labels = {"labels": ("O", "B-PER", "I-PER")} if task == "token-classification" else {}
    made = tiny_export("bert", task=task, **labels)
    found = compare_calls(made.model, made.tokenizer, made.bundle, task, device="openvino")
    assert {call: why for call, why in found.items() if why is not None} == {}


def test_a_decoder_in_standard_operators_writes_the_same(tmp_path: Path) -> None:
    model, tokenizer = build_generative("gpt2")
    bundle = export(model, tmp_path / "bundle", tokenizer=tokenizer, dtypes=("fp32",), target="openvino", verify=False)
    here, there = pipeline("text-generation", bundle), pipeline("text-generation", bundle, device="openvino")
    for options in ({}, {"num_beams": 3}, {"batch_size": 3}, {"num_beams": 2, "batch_size": 3}):
        assert there(list(TEXTS), **SEARCH, **options) == here(list(TEXTS), **SEARCH, **options), options


def test_an_export_for_it_is_measured_there(tmp_path: Path) -> None:
    model, tokenizer = build("bert")
    bundle = export(
        model, tmp_path / "bundle", tokenizer=tokenizer, dtypes=("fp32", "w8"), target="openvino", max_drop=100
    )
    assert bundle.manifest is not None
    parities = {dtype: variant.parity for dtype, variant in bundle.manifest.variants.items()}
    assert {dtype: parity and parity.device for dtype, parity in parities.items()} == {
        "fp32": "openvino",
        "w8": "openvino",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was measured where it runs
        classify = pipeline("text-classification", bundle, dtype="w8", device="openvino")
    assert classify("I love this")[0]["label"] in classify.model.config["id2label"].values()
