"""A checkpoint in PyTorch, called as the graphs of a bundle are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

from edgepipe.pipelines.question_answering import QuestionAnswering
from edgepipe_export.checkpoint.load import LoadedCheckpoint, load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.checks import PYTORCH
from edgepipe_export.evaluation.pytorch_reference import (
    PyTorchEncoder,
    PyTorchLanguageModel,
    PyTorchPredictor,
    call_module,
    load_pipeline,
)
from edgepipe_export.output.progress import Steps
from tests.tiny import LIMIT, build
from tests.tiny.generation import reference
from tests.tiny.generative import build_generative

TEXTS = ["One text.", "Another one, which is longer."]


def loaded_for(task: str, **arguments: Any) -> LoadedCheckpoint:
    model, tokenizer = build("bert", task=task, **arguments)
    return load(resolve(Request(model, task, tokenizer)))


def test_a_module_is_called_with_arrays_and_keeps_no_gradients() -> None:
    def double(numbers: torch.Tensor, plus: int) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        return 2 * numbers + plus

    assert call_module(double, {"numbers": [[1, 2]]}, plus=1).tolist() == [[3, 5]]


def test_tensors_are_those_of_the_model() -> None:
    loaded = loaded_for("text-classification")
    encoder = PyTorchEncoder(loaded, ("logits",), ("hidden_states",))
    encoding = loaded.tokenizer(TEXTS, padding=True, return_tensors="np")
    found = encoder(**encoding, special_tokens_mask=np.zeros((1, 1)))  # which the model does not take
    with torch.no_grad():
        expected = loaded.model(**loaded.tokenizer(TEXTS, padding=True, return_tensors="pt"), output_hidden_states=True)
    np.testing.assert_array_equal(found["logits"], expected.logits.numpy())
    layers = [name for name in found if name != "logits"]
    assert len(layers) == len(expected.hidden_states)
    for name, tensor in zip(layers, expected.hidden_states, strict=True):
        np.testing.assert_array_equal(found[name], tensor.numpy())
    assert (encoder.max_length, encoder.on_cpu, encoder.config["model_type"]) == (LIMIT, True, "bert")


def test_results_are_those_of_transformers_and_each_is_a_step() -> None:
    loaded, steps, reached = loaded_for("text-classification"), Steps(), []
    predictor = PyTorchPredictor(loaded, ("logits",), steps=steps)
    assert predictor.name == PYTORCH
    pipe = transformers.pipeline("text-classification", model=loaded.model, tokenizer=loaded.tokenizer, device="cpu")
    with steps.report_to(lambda done, total: reached.append(done), 10):
        assert predictor.results(TEXTS, {"top_k": None}) == [pipe(text, top_k=None) for text in TEXTS]
        predictor.tensors(dict(loaded.tokenizer(TEXTS[:1], return_tensors="np")))
    assert reached == [1, 2, 3]


def test_a_pipeline_that_transformers_removed_is_our_task_over_pytorch() -> None:
    loaded = loaded_for("question-answering")
    assert "question-answering" not in transformers.pipelines.get_supported_tasks()
    pipe = load_pipeline("question-answering", loaded)
    assert isinstance(pipe, QuestionAnswering)
    assert isinstance(pipe.model, PyTorchEncoder)
    context = "The train leaves at nine."
    answer = pipe(question="When does it leave?", context=context)
    assert answer["answer"] == context[answer["start"] : answer["end"]]


FAMILIES = ("gpt2", "gemma3_text", "bart", "t5")


def written_by(family: str) -> tuple[PyTorchLanguageModel, Any]:
    model, tokenizer = build_generative(family)
    task = "text2text-generation" if model.config.is_encoder_decoder else "text-generation"
    return PyTorchLanguageModel(load(resolve(Request(model, task, tokenizer)))), model


def numbers(model: Any, rows: int, length: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(5, model.config.vocab_size - 1, (rows, length))


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_are_padded_give_what_each_gives_alone(family: str) -> None:
    language_model, model = written_by(family)
    assert language_model.name == PYTORCH
    ids, following = numbers(model, 2, 6, 0), numbers(model, 2, 3, 1)
    mask = np.ones_like(ids)
    # Encoders are padded on the right, decoders on the left.
    own = slice(0, 4) if model.config.is_encoder_decoder else slice(2, 6)
    mask[1] = 0
    mask[1, own] = 1
    together = language_model.step_logits(ids, mask, following)
    assert len(together) == (3 if model.config.is_encoder_decoder else 4)
    for row, each in ((0, slice(0, 6)), (1, own)):
        alone = language_model.step_logits(ids[[row], each], mask[[row], each], following[[row]])
        for one, several in zip(alone, together, strict=True):
            np.testing.assert_allclose(several[row], one[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_logits_of_a_text_are_those_of_its_steps(family: str) -> None:
    language_model, model = written_by(family)
    ids, following = numbers(model, 1, 6, 0), numbers(model, 1, 4, 1)
    steps = language_model.step_logits(ids, np.ones_like(ids), following)
    if model.config.is_encoder_decoder:
        whole = language_model.logits(ids[0], following[0])
    else:
        whole = language_model.logits(np.concatenate([ids, following], axis=1)[0], None)[5:]
    np.testing.assert_allclose(np.concatenate(steps), whole, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_those_of_generate(family: str) -> None:
    language_model, model = written_by(family)
    ids = numbers(model, 1, 6, 2)
    expected = reference(model, ids, np.ones_like(ids), {"max_new_tokens": 8, "num_beams": 1})
    assert language_model.generate(ids[0], 8) == expected[0]


@pytest.mark.parametrize("family", ["gpt2", "phi3-longrope"])
def test_what_is_written_on_has_the_logits_of_generate(family: str) -> None:
    model, tokenizer = build_generative(family)
    loaded = load(resolve(Request(model, "text-generation", tokenizer)))
    ids, count = np.arange(3, 16), 8
    tokens, logits = PyTorchLanguageModel(loaded).follow(ids, count)
    options = {"max_new_tokens": count, "min_new_tokens": count}
    assert [tokens.tolist()] == reference(model, ids[None], np.ones_like(ids[None]), options)
    assert [each.shape for each in logits] == [(1, len(tokenizer))] * count
    end = model.generation_config.eos_token_id
    for token, scores in zip(tokens, logits, strict=True):
        scores[:, end] = -np.inf
        assert scores.argmax() == token
