"""Variants of a bundle as predictors and language models, beside what numpy computes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle, Tokenizer, pipeline
from edgepipe_export.calibration.dataset import Dataset
from edgepipe_export.evaluation.predictors import CachedPredictor, VariantLanguageModel, VariantPredictor
from edgepipe_export.output.progress import Steps
from tests.runtime.models.decoder.small_decoders import (
    VOCABULARY,
    causal_bundle,
    causal_logits,
    seq2seq_bundle,
    target_logits,
)
from tests.runtime.small_bundle import expected_logits, write_bundle
from tests.tiny import TOKENIZERS

TEXTS = tuple(f"text number {number}" for number in range(19))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(write_bundle(tmp_path_factory.mktemp("predictors"), ("fp32", "int8")))


@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_tensors_of_padded_batches(dtype: str, bundle: Bundle) -> None:
    predictor = VariantPredictor(bundle, dtype)
    assert (predictor.name, predictor.outputs, predictor.layer_outputs) == (dtype, ("logits",), ())
    batches = predictor.encode(Dataset(TEXTS, None, "own.txt"))
    assert [len(batch["input_ids"]) for batch in batches] == [8, 8, 3]
    for batch in batches:
        expected = expected_logits(dtype, batch["input_ids"], batch["attention_mask"])
        np.testing.assert_allclose(predictor.tensors(batch)["logits"], expected, rtol=1e-4, atol=1e-5)


def test_only_the_first_inputs_are_encoded(bundle: Bundle) -> None:
    batches = VariantPredictor(bundle, "fp32").encode(Dataset(TEXTS * 20, None, "own.txt"))
    assert sum(len(batch["input_ids"]) for batch in batches) == 200


def test_results_are_those_of_the_pipeline_under_the_options(bundle: Bundle) -> None:
    results = VariantPredictor(bundle, "fp32").results(TEXTS[:3], {"top_k": 2})
    assert results == [pipeline(model=bundle, dtype="fp32")(text, top_k=2) for text in TEXTS[:3]]


def test_every_batch_and_result_is_a_step(bundle: Bundle) -> None:
    steps, reached = Steps(), []
    predictor = VariantPredictor(bundle, "fp32", steps=steps)
    with steps.report_to(lambda done, total: reached.append(done), 100):
        for batch in predictor.encode(Dataset(TEXTS, None, "own.txt")):
            predictor.tensors(batch)
        predictor.results(TEXTS, {})
    assert reached == list(range(1, 3 + len(TEXTS) + 1))


class Counted:
    """A predictor that counts its calls."""

    name = "counted"

    def __init__(self) -> None:
        self.calls: list[str] = []

    def tensors(self, encoding: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        self.calls.append("tensors")
        return {"logits": np.zeros((1, len(self.calls)), np.float32)}

    def results(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        self.calls.append("results")
        return [len(self.calls) for _ in inputs]


def test_everything_is_computed_once() -> None:
    predictor = Counted()
    cached = CachedPredictor(predictor)
    assert cached.name == "counted"
    one, other = {"input_ids": np.ones((1, 2), np.int64)}, {"input_ids": np.ones((1, 2), np.int64)}
    assert cached.tensors(one) is cached.tensors(one)
    assert cached.tensors(other) is not cached.tensors(one), "batches are told apart by what they are"
    assert cached.results(["a"], {"top_k": 1}) is cached.results(("a",), {"top_k": 1})
    for call in ((["a"], {}), (["b"], {"top_k": 1}), (["a", "b"], {"top_k": 1})):
        cached.results(*call)
    assert predictor.calls == ["tensors", "tensors"] + ["results"] * 4


def test_what_was_computed_before_counts_as_its_steps() -> None:
    steps, reached = Steps(), []
    cached, batch = CachedPredictor(Counted(), steps), {"input_ids": np.ones((1, 2), np.int64)}
    cached.tensors(batch)
    cached.results(["a", "b", "c"], {})
    with steps.report_to(lambda done, total: reached.append(done), 100):
        cached.tensors(batch)
        cached.results(["a", "b", "c"], {})
    assert reached == [1, 4]


TOKENIZER = Tokenizer.from_pretrained(TOKENIZERS / "gpt2")
NUMBERS = np.random.default_rng(0)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("shared", [False, True])
def test_logits_step_by_step_are_those_of_the_whole_text(rows: int, shared: bool, tmp_path: Path) -> None:
    ids, following = NUMBERS.integers(0, VOCABULARY, (rows, 5)), NUMBERS.integers(0, VOCABULARY, (rows, 3))
    mask = np.ones_like(ids)
    mask[-1, :2] = 0
    model = VariantLanguageModel(causal_bundle(tmp_path, shared=shared), "fp32", TOKENIZER)
    whole = causal_logits(np.concatenate([ids, following], 1), np.concatenate([mask, np.ones_like(following)], 1))
    found = model.step_logits(ids, mask, following)
    assert len(found) == 4
    for step, logits in enumerate(found):
        np.testing.assert_allclose(logits, whole[:, 4 + step], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.logits(ids[0], None), causal_logits(ids[:1])[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 3])
def test_logits_of_an_encoder_decoder(rows: int, tmp_path: Path) -> None:
    source, target = NUMBERS.integers(0, VOCABULARY, (rows, 5)), NUMBERS.integers(0, VOCABULARY, (rows, 4))
    mask = np.ones_like(source)
    mask[-1, 3:] = 0
    model = VariantLanguageModel(seq2seq_bundle(tmp_path, shared=True), "fp32", TOKENIZER)
    expected = target_logits(source, mask, target)
    found = model.step_logits(source, mask, target)
    assert len(found) == 4
    for step, logits in enumerate(found):
        np.testing.assert_allclose(logits, expected[:, step], rtol=1e-4, atol=1e-4)
    whole = target_logits(source[:1], np.ones_like(source[:1]), target[:1])[0]
    np.testing.assert_allclose(model.logits(source[0], target[0]), whole, rtol=1e-4, atol=1e-4)


def test_what_is_written_on_has_the_logits_that_chose_it(tmp_path: Path) -> None:
    ids = NUMBERS.integers(0, VOCABULARY, 4)
    tokens, logits = VariantLanguageModel(causal_bundle(tmp_path), "fp32", TOKENIZER).follow(ids, 5)
    whole = causal_logits(np.concatenate([ids, tokens])[None])[0]
    assert len(logits) == 5
    for step, found in enumerate(logits):
        np.testing.assert_allclose(found, whole[None, 3 + step], rtol=1e-4, atol=1e-4)
        assert found.argmax() == tokens[step]


def test_tokens_are_those_of_a_greedy_search(tmp_path: Path) -> None:
    ids = NUMBERS.integers(0, VOCABULARY, 4)
    found = VariantLanguageModel(causal_bundle(tmp_path), "fp32", TOKENIZER).generate(ids, 5)
    for _ in range(5):
        ids = np.append(ids, causal_logits(ids[None])[0, -1].argmax())
    assert found == ids[4:].tolist()


def test_a_search_goes_on_behind_its_end_where_it_is_told_to(tmp_path: Path) -> None:
    ids = NUMBERS.integers(0, VOCABULARY, 4)
    bundle = causal_bundle(tmp_path)
    likeliest = int(causal_logits(ids[None])[0, -1].argmax())
    (bundle.path / "generation_config.json").write_text(json.dumps({"eos_token_id": likeliest}))
    model = VariantLanguageModel(Bundle.load(bundle.path), "fp32", TOKENIZER)
    assert model.generate(ids, 5) == [likeliest]
    assert len(model.generate(ids, 5, least=5)) == 5
