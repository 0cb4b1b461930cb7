"""Question answering reads token types as in transformers 4; what has another reference does not get them."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from edgepipe import Model, Tokenizer
from edgepipe_export import verify
from edgepipe_export.checkpoint.model_inputs import (
    accepted_inputs,
    add_token_types,
    cache_name,
    tokens_without_embedding,
)
from tests.conftest import Exported
from tests.tiny import TOKENIZERS, build
from tests.tiny.generative import build_generative

NAMES = ["input_ids", "token_type_ids", "attention_mask"]


def test_a_tokenizer_that_knows_types_makes_them() -> None:
    model, tokenizer = build("albert", task="question-answering")
    before = list(tokenizer.model_input_names)
    restored = add_token_types(tokenizer, model)
    assert restored.model_input_names == NAMES
    assert restored("a", "b")["token_type_ids"][-1] == 1
    assert tokenizer.model_input_names == before == ["input_ids", "attention_mask"]


def test_a_cache_has_the_name_that_the_model_takes() -> None:
    """A model that is new in transformers 5.24 leaves the old name aside without a word, and its cache with it."""
    model, _ = build_generative("gpt2")
    name = cache_name(model)
    assert name in inspect.signature(model.forward).parameters
    with torch.no_grad():
        assert len(model(torch.tensor([[1, 2]]), use_cache=True)[name].layers) == model.config.num_hidden_layers
    assert cache_name(Older()) == "past_key_values"


class Older(torch.nn.Module):
    """As models of transformers 5.23 are called."""

    def forward(self, input_ids: torch.Tensor, past_key_values: object = None) -> torch.Tensor:
        return input_ids


@pytest.mark.parametrize(
    ("architecture", "why"),
    [
        ("roberta", "its types are all 0"),
        ("t5", "the model does not read them"),
        ("deberta-v2", "it makes them anyway"),
    ],
)
def test_tokenizers_that_are_left_alone(architecture: str, why: str) -> None:
    model, tokenizer = build(architecture, task="question-answering")
    assert add_token_types(tokenizer, model) is tokenizer, why


def test_names_that_the_checkpoint_gives_are_kept(tmp_path: Path) -> None:
    model, _ = build("albert", task="question-answering")
    folder = shutil.copytree(TOKENIZERS / "albert", tmp_path / "tokenizer")
    config = folder / "tokenizer_config.json"
    named = '{"model_input_names": ["input_ids", "attention_mask"],'
    config.write_text(config.read_text().replace("{", named, 1))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert add_token_types(tokenizer, model) is tokenizer


def test_the_bundle_reads_them_for_question_answering_only(tiny_export: Callable[..., Exported]) -> None:
    made = tiny_export("albert", task="question-answering", num_labels=2)  # as in the golden suite
    assert sorted(Model(made.bundle).input_names) == sorted(NAMES)
    assert Tokenizer.from_pretrained(made.bundle.path)("a", "b")["token_type_ids"][-1] == 1
    rows = verify(
        made.bundle, made.model, tokenizer=made.tokenizer, texts=["One text.", "And another, longer one."]
    ).rows
    assert all(row.passed for row in rows), [str(row) for row in rows if not row.passed]
    plain = tiny_export("albert", num_labels=3)
    assert "token_type_ids" not in Model(plain.bundle).input_names


def test_an_input_the_model_does_not_take_is_left_out() -> None:
    model, _ = build("distilbert")
    names = accepted_inputs(model, ("input_ids", "token_type_ids", "attention_mask"))
    assert names == ("input_ids", "attention_mask")


def test_tokens_that_the_model_was_not_resized_for() -> None:
    model, tokenizer = build("bert")
    assert tokens_without_embedding(tokenizer, model) == []
    tokenizer.add_tokens(["zzz", "yyy"])
    assert tokens_without_embedding(tokenizer, model) == ["zzz", "yyy"]
