"""Model and tokenizer as they are traced: all weights, fp32, eager attention, and what cannot be loaded so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import BertConfig, BertForMaskedLM, BertModel

from edgepipe.errors import CheckpointError
from edgepipe_export.checkpoint.load import auto_class, encoder_of, load
from edgepipe_export.checkpoint.model_inputs import tokens_without_embedding
from edgepipe_export.checkpoint.resolve import Request, resolve
from tests.export.checkpoint.small_checkpoint import SMALL, edit_config
from tests.tiny import TOKENIZERS, build
from tests.tiny.generative import build_generative


@pytest.mark.parametrize(
    ("auto_model", "model_type", "expected"),
    [
        ("AutoModel", "bert", "AutoModel"),
        ("AutoModel", "t5", "AutoModelForTextEncoding"),
        ("AutoModel", "bart", "AutoModel"),  # transformers has no class for its encoder
        ("AutoModelForSeq2SeqLM", "t5", "AutoModelForSeq2SeqLM"),
    ],
)
def test_of_a_body_that_writes_the_encoder_is_loaded(auto_model: str, model_type: str, expected: str) -> None:
    assert auto_class(auto_model, model_type) == expected
    assert hasattr(transformers, expected)


def test_the_encoder_of_an_encoder_decoder() -> None:
    assert encoder_of("t5") == "T5EncoderModel"
    assert encoder_of("bert") is encoder_of("bart") is encoder_of("no such type") is None


def test_a_directory_is_loaded_as_it_is_traced(checkpoint: Path) -> None:
    loaded = load(resolve(Request(checkpoint)))
    model = loaded.model
    assert (model.dtype, model.training, model.config._attn_implementation) == (torch.float32, False, "eager")
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.config.architectures == ["BertForSequenceClassification"]
    assert loaded.checkpoint.directory == checkpoint
    expected, _ = build("bert", labels=("bad", "fair", "good"))
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_weights_in_half_precision_become_fp32(own_checkpoint: Path) -> None:
    model, _ = build("bert")
    model.half().save_pretrained(own_checkpoint)
    loaded = load(resolve(Request(own_checkpoint)))
    assert loaded.model.dtype == torch.float32
    assert torch.equal(loaded.model.classifier.weight, model.classifier.weight.float())


def test_only_what_writes_has_a_cache() -> None:
    model, tokenizer = build_generative("gpt2")
    assert load(resolve(Request(model, "text-generation", tokenizer))).model.config.use_cache
    reads, tokenizer = build("bert")
    assert not load(resolve(Request(reads, "text-classification", tokenizer))).model.config.use_cache


def test_what_a_model_decides_by_its_first_text_is_decided() -> None:
    model, tokenizer = build("big_bird")
    assert model.config.attention_type == "block_sparse"
    loaded = load(resolve(Request(model, "text-classification", tokenizer)))
    assert loaded.model.bert.attention_type == "original_full"
    assert model.config.attention_type == "block_sparse", "the caller's is left alone"


def test_a_tokenizer_from_elsewhere(checkpoint: Path, own_checkpoint: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (own_checkpoint / name).unlink()
    loaded = load(resolve(Request(own_checkpoint, tokenizer=TOKENIZERS / "bert")))
    own = load(resolve(Request(checkpoint))).tokenizer
    assert loaded.tokenizer("some text")["input_ids"] == own("some text")["input_ids"]


@pytest.mark.parametrize(("task", "has_types"), [("question-answering", True), ("feature-extraction", False)])
def test_question_answering_alone_gets_the_types_of_a_pair(task: str, has_types: bool) -> None:
    model, tokenizer = build("albert", task=task)
    loaded = load(resolve(Request(model, task, tokenizer)))
    assert ("token_type_ids" in loaded.tokenizer.model_input_names) is has_types


@pytest.mark.parametrize("model_class", [BertModel, BertForMaskedLM])
def test_a_head_of_random_weights_is_refused(model_class: Any, tmp_path: Path) -> None:
    model_class(BertConfig(**SMALL)).save_pretrained(tmp_path / "base")
    edit_config(tmp_path / "base", architectures=["BertModel"])
    with pytest.raises(CheckpointError, match=r"not fine-tuned for text-classification.*classifier\.weight"):
        load(resolve(Request(tmp_path / "base", "text-classification", tmp_path)))


def test_missing_weights_of_the_body(own_checkpoint: Path) -> None:
    edit_config(own_checkpoint, num_hidden_layers=3)
    with pytest.raises(CheckpointError, match=r"lacks \d+ weights of BertForSequenceClassification"):
        load(resolve(Request(own_checkpoint)))


def test_weights_of_other_shapes(own_checkpoint: Path) -> None:
    edit_config(own_checkpoint, hidden_size=64)
    with pytest.raises(CheckpointError, match="own-checkpoint cannot be loaded"):
        load(resolve(Request(own_checkpoint)))


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x00\x00\x00\x00\x00\x00\x00{}garba"])
def test_damaged_weights(own_checkpoint: Path, content: bytes) -> None:
    (own_checkpoint / "model.safetensors").write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"own-checkpoint/model\.safetensors is (truncated|not a safetensors file)"
    ):
        load(resolve(Request(own_checkpoint)))


def test_truncated_weights(own_checkpoint: Path) -> None:
    weights = own_checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"own-checkpoint/model\.safetensors is truncated"):
        load(resolve(Request(own_checkpoint)))


def test_an_unknown_model_type(own_checkpoint: Path) -> None:
    edit_config(own_checkpoint, model_type="brandnew")
    with pytest.raises(CheckpointError, match="brandnew"):
        load(resolve(Request(own_checkpoint)))


def test_a_directory_without_tokenizer(own_checkpoint: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (own_checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        load(resolve(Request(own_checkpoint)))


def test_a_tokenizer_that_panics(own_checkpoint: Path) -> None:
    path = own_checkpoint / "tokenizer.json"
    panics = {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | panics))
    with pytest.raises(CheckpointError, match=r"cannot be loaded: .*has the library that reads it fail"):
        load(resolve(Request(own_checkpoint)))


def test_something_else_than_a_tokenizer(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="int is not a tokenizer of transformers"):
        load(resolve(Request(checkpoint, tokenizer=3)))  # type: ignore[arg-type]


def test_the_callers_model_is_left_alone() -> None:
    model, tokenizer = build("bert")
    model.half().train()
    loaded = load(resolve(Request(model, tokenizer=tokenizer)))
    assert loaded.model.dtype == torch.float32
    assert not loaded.model.training
    assert model.dtype == torch.float16
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_shards_of_any_precision_with_tokens_that_were_added(dtype: torch.dtype, tmp_path: Path) -> None:
    model, tokenizer = build_generative("gpt2")
    tokenizer.add_tokens(["<call>", " spaced "])
    model.resize_token_embeddings(len(tokenizer))
    model.to(dtype).save_pretrained(tmp_path, max_shard_size="20KB")
    tokenizer.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    loaded = load(resolve(Request(tmp_path)))
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    inputs = loaded.tokenizer("a spaced <call> b", return_tensors="pt")
    assert inputs["input_ids"].max() >= len(tokenizer) - 2
    assert tokens_without_embedding(loaded.tokenizer, loaded.model) == []
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(**inputs).logits, reference(**inputs).logits, atol=1e-4, rtol=1e-3)
