"""Files of weights without anything else, as training loops save them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from edgepipe.errors import CheckpointError
from edgepipe_export.checkpoint.formats.state_dicts import is_state_dict, match_names, read_state_dict
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from tests.tiny import build
from tests.tiny.generative import build_generative


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with the head of masked language models."""
    folder = tmp_path_factory.mktemp("base") / "bert"
    build("bert", task="fill-mask", directory=folder)
    return folder


@pytest.fixture(scope="module")
def trained(base: Path) -> Any:
    """A model that was made of it, for five labels and with two tokens more."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=5)
    model.resize_token_embeddings(model.config.vocab_size + 2)
    return model.eval()


def require_equal(path: Path, base: Path, trained: Any) -> None:
    loaded = load(resolve(Request(path, "text-classification", base=base, allow_pickle=True)))
    inputs = AutoTokenizer.from_pretrained(base)("I love this", return_tensors="pt")
    inputs["input_ids"][0, -2] = trained.config.vocab_size - 1
    assert loaded.checkpoint.name == path.name
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(**inputs).logits, trained(**inputs).logits)


@pytest.mark.parametrize("wrapped", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.module."])
def test_what_training_loops_write(wrapped: str | None, prefix: str, base: Path, trained: Any, tmp_path: Path) -> None:
    weights = {prefix + name: tensor for name, tensor in trained.state_dict().items()}
    torch.save(weights if wrapped is None else {wrapped: weights, "epoch": 3}, tmp_path / "best.pt")
    require_equal(tmp_path / "best.pt", base, trained)


def test_a_file_of_safetensors_needs_no_permission(base: Path, trained: Any, tmp_path: Path) -> None:
    save_file(trained.state_dict(), tmp_path / "best.safetensors")
    checkpoint = resolve(Request(tmp_path / "best.safetensors", "text-classification", base=base))
    assert load(checkpoint).model.config.num_labels == trained.config.num_labels


def test_half_precision(base: Path, trained: Any, tmp_path: Path) -> None:
    weights = {name: tensor.bfloat16() for name, tensor in trained.state_dict().items()}
    torch.save(weights, tmp_path / "best.pt")
    loaded = load(resolve(Request(tmp_path / "best.pt", "text-classification", base=base, allow_pickle=True))).model
    assert loaded.classifier.weight.dtype == torch.float32
    assert torch.equal(loaded.classifier.weight, weights["classifier.weight"].float())


def test_a_decoder_has_the_generation_config_of_its_base(tmp_path: Path) -> None:
    model, tokenizer = build_generative("llama")
    model.generation_config.max_new_tokens = 7
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    torch.save(model.state_dict(), tmp_path / "best.pth")
    loaded = load(resolve(Request(tmp_path / "best.pth", base=tmp_path / "base", allow_pickle=True)))
    assert loaded.checkpoint.task.name == "text-generation"
    assert loaded.model.generation_config.max_new_tokens == 7
    inputs = tokenizer("Hello there", return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(**inputs).logits, model(**inputs).logits)


def test_files_without_a_base_or_a_permission(base: Path, tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"best\.pt is a file of weights alone; .*--base"):
        resolve(Request(tmp_path / "best.pt"))
    with pytest.raises(CheckpointError, match=r"best\.pt has pickled weights.*--allow-pickle"):
        resolve(Request(tmp_path / "best.pt", base=base))
    assert not is_state_dict(tmp_path / "config.json")


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"best\.pt cannot be read: "):
        read_state_dict(tmp_path / "best.pt")
    torch.save({"epoch": 3}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="is no state_dict"):
        read_state_dict(tmp_path / "best.pt")


def test_weights_of_another_model(base: Path, tmp_path: Path) -> None:
    other, _ = build("distilbert")
    torch.save(other.state_dict(), tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=r"best\.pt (lacks|has weights|is not fine-tuned)"):
        load(resolve(Request(tmp_path / "best.pt", "text-classification", base=base, allow_pickle=True)))


def test_names_that_match_stay() -> None:
    weights = {"model.embed_tokens.weight": 1, "model.norm.weight": 2}
    assert match_names(weights, {"model.embed_tokens.weight"}) == weights
    assert match_names(weights, {"embed_tokens.weight"}) == {"embed_tokens.weight": 1, "norm.weight": 2}
    assert match_names(weights, {"other"}) == {"embed_tokens.weight": 1, "norm.weight": 2}
