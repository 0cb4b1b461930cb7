"""What fp32 is compared with its reference on, and that every difference is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from transformers import AutoTokenizer

from edgepipe import Tokenizer
from edgepipe_export.evaluation.parity import (
    check_parity,
    check_tensors,
    check_tokens,
    count_predictions,
    prepare_inputs,
)
from tests.tiny import TOKENIZERS

CONFIG = {"vocab_size": 40, "pad_token_id": 0, "type_vocab_size": 2}
TASK = "text-classification"
TEXTS = [f"{'word ' * number}end" for number in range(30)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_pretrained(TOKENIZERS / "bert")


class Sums:
    """A predictor that adds token ids, and something to what it is told to."""

    name = "sums"

    def __init__(self, tensors: float = 0.0, scores: float = 0.0, label: str = "a") -> None:
        self.calls = 0
        self._tensors, self._scores, self._label = tensors, scores, label

    def tensors(self, encoding: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        self.calls += 1
        total = (encoding["input_ids"] * encoding["attention_mask"]).sum(axis=1, keepdims=True)
        return {"logits": (total + self._tensors).astype(np.float32)}

    def results(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        self.calls += len(inputs)
        entries = [{"label": self._label, "score": 0.6 + self._scores}, {"label": "b", "score": 0.4 - self._scores}]
        return [entries if "top_k" in options else entries[:1] for _ in inputs]


@pytest.mark.parametrize(
    ("limit", "shapes"),
    [
        (16, [(1, 1), (3, 1), (1, 2), (4, 7), (1, 16), (2, 16)]),
        (3, [(1, 1), (3, 1), (1, 2), (1, 3), (2, 3)]),
        (None, [(1, 1), (3, 1), (1, 2), (4, 7), (2, 31), (1, 1024), (2, 1024)]),
    ],
)
def test_random_batches_have_many_shapes_up_to_the_limit(
    limit: int | None, shapes: list[tuple[int, int]], tokenizer: Tokenizer
) -> None:
    found = prepare_inputs(TASK, tokenizer, CONFIG, limit, TEXTS).random
    assert [batch["input_ids"].shape for batch in found] == shapes
    assert {tuple(sorted(batch)) for batch in found} == {("attention_mask", "input_ids", "token_type_ids")}
    for batch in found:
        ids, mask = batch["input_ids"], batch["attention_mask"]
        assert ((ids == 0) == (mask == 0)).all(), "padding is the padding token, and nothing else is"
        assert mask.any(axis=1).all()
        assert not (batch["token_type_ids"] * (1 - mask)).any()
        assert ids.max() < 40


def test_every_row_of_an_encoder_decoder_has_one_end(tokenizer: Tokenizer) -> None:
    config = CONFIG | {"is_encoder_decoder": True, "eos_token_id": 2, "pad_token_id": 1}
    for batch in prepare_inputs(TASK, tokenizer, config, 16, TEXTS).random:
        ids, mask = batch["input_ids"], batch["attention_mask"]
        assert (ids == 2).sum(axis=1).tolist() == [1] * len(ids)
        last = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
        assert (ids[np.arange(len(ids)), last] == 2).all()


def test_every_row_of_longformer_s_questions_has_three_separators(tokenizer: Tokenizer) -> None:
    config = CONFIG | {"model_type": "longformer", "sep_token_id": 2, "pad_token_id": 0}
    found = prepare_inputs("question-answering", tokenizer, config, 16, TEXTS)
    assert [batch["input_ids"].shape for batch in found.random] == [(4, 7), (1, 16), (2, 16)], "no shorter ones"
    for batch in found.random:
        ids, mask = batch["input_ids"], batch["attention_mask"]
        assert (ids == 2).sum(axis=1).tolist() == [3] * len(ids)
        assert not (ids == 2)[mask == 0].any()
    assert [len(batch["input_ids"]) for batch in found.encodings] == [8, 8, 8, 6]
    questions, contexts = list(found.texts[:8]), [*found.texts[1:8], found.texts[0]]
    pairs = tokenizer(questions, contexts, padding=True, truncation=True, max_length=16)
    assert found.encodings[0]["input_ids"].tolist() == pairs["input_ids"]


def test_texts_that_transformers_fails_at_are_left_out(tokenizer: Tokenizer) -> None:
    config = CONFIG | {"model_type": "funnel", "block_sizes": [1, 1, 1, 1]}
    found = prepare_inputs(TASK, tokenizer, config, 16, ("", "a", "one of the good films", "no"))
    assert found.texts == found.inputs == ("one of the good films",)
    assert {batch["input_ids"].shape for batch in found.random} == {(1, 16), (2, 16)}


def test_texts_are_cut_to_the_limit_and_padded(tokenizer: Tokenizer) -> None:
    found = prepare_inputs(TASK, tokenizer, CONFIG, 16, TEXTS)
    assert len(found.texts) == len(found.inputs) == 30
    assert [len(batch["input_ids"]) for batch in found.encodings] == [8, 8, 8, 6]
    assert max(batch["input_ids"].shape[1] for batch in found.encodings) == 16


def test_what_is_the_same_passes_in_so_many_predictions(tokenizer: Tokenizer) -> None:
    inputs = prepare_inputs(TASK, tokenizer, CONFIG, 16, TEXTS)
    one, other = Sums(), Sums(tensors=5e-5, scores=5e-5)
    checks = check_parity(one, other, inputs, TASK)
    assert [(check.check, check.passed) for check in checks] == [
        ("tensors, random ids", True),
        ("tensors, texts", True),
        ("pipeline", True),
        ("pipeline, function_to_apply=sigmoid, top_k=None", True),
        ("pipeline, top_k=None", True),
    ]
    assert [check.compared for check in checks] == [len(inputs.random), 4, 20, 20, 30], "of other forms a few"
    assert one.calls == other.calls == count_predictions(inputs, TASK)
    assert checks[-1].agreement == 1.0


@pytest.mark.parametrize(
    ("candidate", "failed"),
    [
        (Sums(tensors=50), [True, True, False, False, False]),
        (Sums(scores=2e-4), [False, False, True, True, True]),
        (Sums(label="c"), [False, False, True, True, True]),
        (Sums(tensors=float("nan")), [True, True, False, False, False]),
    ],
    ids=["tensors", "scores", "labels", "not a number"],
)
def test_every_difference_is_found(candidate: Sums, failed: list[bool], tokenizer: Tokenizer) -> None:
    checks = check_parity(candidate, Sums(), prepare_inputs(TASK, tokenizer, CONFIG, 16, TEXTS), TASK)
    assert [not check.passed for check in checks] == failed
    assert all(check.detail is not None for check in checks if not check.passed and "pipeline" in check.check)


def test_tensors_of_which_one_is_missing() -> None:
    expected = {"logits": np.zeros(2, np.float32)}
    check = check_tensors("tensors", "fp32", "pytorch", 1, iter([(expected, {})]))
    assert (check.passed, check.differences) == (False, {"logits": float("inf")})
    assert check_tensors("tensors", "fp32", "pytorch", 1, iter([(expected, dict(expected))])).passed


def test_tokens_are_compared_on_the_corpus_and_the_texts(tokenizer: Tokenizer) -> None:
    same = check_tokens(tokenizer, AutoTokenizer.from_pretrained(TOKENIZERS / "bert"), TEXTS)
    assert (same.passed, same.detail) == (True, None)
    assert same.compared > len(TEXTS)
    other = check_tokens(tokenizer, AutoTokenizer.from_pretrained(TOKENIZERS / "roberta"), TEXTS)
    assert not other.passed
    assert other.detail is not None
