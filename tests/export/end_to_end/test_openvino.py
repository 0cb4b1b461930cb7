"""Bundles on OpenVINO: transformers' results for every task of an encoder, and a decoder that it can run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from edgepipe import pipeline
from edgepipe.backend.openvino.ov_module import CPU, load_core
from edgepipe.errors import ParityError
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.continuous_batching import ContinuousBatch
from edgepipe_export import export, verify
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


@pytest.mark.parametrize(("family", "has_state"), [("gpt2", True), ("mistral", True), ("bloom", False)])
def test_a_decoder_in_standard_operators_writes_the_same(family: str, has_state: bool, tmp_path: Path) -> None:
    model, tokenizer = build_generative(family)
    bundle = export(model, tmp_path / "bundle", tokenizer=tokenizer, dtypes=("fp32",), target="openvino", verify=False)
    here, there = pipeline("text-generation", bundle), pipeline("text-generation", bundle, device="openvino")
    assert bool(there.model.session.states) is has_state
    for options in (
        {},
        {"num_beams": 3},
        {"batch_size": 3},
        {"num_beams": 2, "batch_size": 3},
        {"do_sample": True, "seed": 1, "num_return_sequences": 2, "batch_size": 2},
        {"prompt_lookup_num_tokens": 4},
    ):
        assert there(list(TEXTS), **SEARCH | options) == here(list(TEXTS), **SEARCH | options), options
    assert there.cache_prefix(TEXTS[0]).tokens > 0
    longer = [TEXTS[0] + text for text in TEXTS]
    for options in ({}, {"batch_size": 3}, {"num_beams": 2}):
        assert there(longer, **SEARCH | options) == here(longer, **SEARCH | options), options
    assert write_together(there, TEXTS) == write_together(here, TEXTS)


def write_together(write: Any, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts whose requests come one after another and are written side by side."""
    batch, found, steps = ContinuousBatch(write.model, write.tokenizer, prompt_chunk=3), {}, 0
    while len(found) < len(texts) or len(batch):
        if steps % 2 == 0 and len(found) < len(texts):
            ids = write.tokenizer(texts[len(found)]).input_ids
            found[batch.add(ids, generation_config(write.model, {}, {"max_new_tokens": 8}))] = []
        for each in batch.step():
            found[each.running].append(each.token)
        steps += 1
    return list(found.values())


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


def test_bf16_is_measured_recorded_and_served(tmp_path: Path) -> None:
    _require_bf16()
    model, tokenizer = build("bert")
    bundle = export(
        model, tmp_path / "bundle", tokenizer=tokenizer, dtypes=("bf16", "w8"), target="openvino", max_drop=100
    )
    assert bundle.manifest is not None
    assert (bundle.manifest.default_dtype, tuple(bundle.manifest.variants)) == ("bf16", ("bf16", "w8", "fp32"))
    assert {path.stem for path in (bundle.path / "onnx").glob("*.onnx")} == {"model", "model_w8"}
    fp32, bf16 = (bundle.manifest.variants[dtype].parity for dtype in ("fp32", "bf16"))
    assert fp32 is not None
    assert bf16 is not None
    assert (bf16.reference, bf16.device, bf16.passed) == ("fp32", "openvino", True)
    assert 0 < max(bf16.max_abs_diff.values()) > max(fp32.max_abs_diff.values())
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert "that of fp32 | fp32, " in card
    assert 'dtype="bf16", device="openvino")' in card
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classify = pipeline("text-classification", bundle, device="openvino")
    assert classify.model.dtype == "bf16"
    assert pipeline("text-classification", bundle).model.dtype == "fp32"
    found = verify(bundle, model, tokenizer=tokenizer, device="openvino", dtype="bf16", max_drop=100)
    assert {row.dtype for row in found.rows if row.check != "tokens"} == {"bf16"}
    assert found.passed


def test_bf16_that_decides_otherwise_is_left_out(tmp_path: Path) -> None:
    _require_bf16()
    model, tokenizer = build("bert")
    model.classifier.bias.data.zero_()
    weight = model.classifier.weight.data
    weight[1:] = weight[0] * (1 + 1e-4 * torch.randn(weight[1:].shape, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ParityError, match=r"bf16 misses its bound: agreement .*; fp32 written without it") as caught:
        export(model, tmp_path / "bundle", tokenizer=tokenizer, dtypes=("fp32", "bf16"), target="openvino")
    bundle = caught.value.bundle
    assert bundle is not None
    assert bundle.manifest is not None
    assert tuple(bundle.manifest.variants) == ("fp32",)
    assert {path.name for path in (bundle.path / "onnx").iterdir()} == {"model.onnx", "model.onnx_data"}


def _require_bf16() -> None:
    if "BF16" not in load_core().get_property(CPU, "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bf16")


@pytest.mark.parametrize("task", ["text-classification", "token-classification", "question-answering", "fill-mask"])
def test_few_lengths_reach_the_graph_and_results_are_the_same(
    task: str, tiny_export: Callable[..., Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"labels": ("O", "B-PER", "I-PER")} if task == "token-classification" else {}
    made = tiny_export("bert", task=task, **labels)
    here, there = pipeline(task, made.bundle), pipeline(task, made.bundle, device="openvino")
    seen: set[int] = set()
    run = there.model.session.run

    def run_and_note(feeds: Any) -> Any:
        seen.add(feeds["input_ids"].shape[1])
        return run(feeds)

    monkeypatch.setattr(there.model.session, "run", run_and_note)
    words = ["the", "a", "of", "in", "is", "to", "and", "on"]
    texts = [" ".join(words[: 1 + number % len(words)]) for number in range(12)]
    inputs: Any = {
        "question-answering": [{"question": "what is it", "context": text} for text in texts],
        "fill-mask": [f"{text} {here.tokenizer.mask_token}" for text in texts],
    }.get(task, texts)
    for options in ({}, {"batch_size": 4}):
        for found, expected in zip(there(inputs, **options), here(inputs, **options), strict=True):
            compare_results(found, expected)
    limit = there.model.max_length
    assert limit is not None
    assert all(length % 8 == 0 or length == limit for length in seen)


def compare_results(found: Any, expected: Any) -> None:
    """Equal but for rounding."""
    if isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            compare_results(one, other)
        return
    assert {name: value for name, value in found.items() if name != "score"} == {
        name: value for name, value in expected.items() if name != "score"
    }
    assert found["score"] == pytest.approx(expected["score"], abs=1e-5)
