"""Adapters of PEFT, merged: against the adapted model of PEFT itself, and against transformers' pipeline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from edgepipe import pipeline
from edgepipe.errors import CheckpointError, DownloadError, InputError
from edgepipe_export import export
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.checkpoint.sentence_transformers import write_sentence_files
from tests.tiny import build
from tests.tiny.generative import build_generative

LABELS = ("anger", "joy", "fear")
QUERIES = ["query", "value"]
KINDS: dict[str, Any] = {
    "lora": LoraConfig(init_lora_weights=False),
    "lora of all layers, with biases": LoraConfig(
        init_lora_weights=False, target_modules="all-linear", bias="all", use_rslora=True, r=3
    ),
    "dora": LoraConfig(init_lora_weights=False, use_dora=True),
    "ia3": peft.IA3Config(
        target_modules=[*QUERIES, "output.dense"], feedforward_modules=["output.dense"], init_ia3_weights=False
    ),
    "adalora": peft.AdaLoraConfig(init_lora_weights=False, target_modules=QUERIES, total_step=10),
    "loha": peft.LoHaConfig(init_weights=False, target_modules=QUERIES),
    "lokr": peft.LoKrConfig(init_weights=False, target_modules=QUERIES),
    "oft": peft.OFTConfig(init_weights=False, target_modules=QUERIES, oft_block_size=8, r=0),
    "vera": peft.VeraConfig(init_weights=False, target_modules=QUERIES, r=4),
    "ln_tuning": peft.LNTuningConfig(target_modules=["LayerNorm"]),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder without a head."""
    folder = tmp_path_factory.mktemp("base") / "bert"
    build("bert", task="feature-extraction", directory=folder)
    return folder


def adapt(model: Any, config: Any, folder: Path) -> Any:
    """A model with an adapter of random weights, saved; the adapted model."""
    torch.manual_seed(0)
    adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():  # some kinds begin as nothing, whatever they are told
        if parameter.requires_grad and "lora_E" not in name:
            with torch.no_grad():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    adapted.save_pretrained(folder)
    return adapted.eval()


def adapt_classifier(base: Path, config: Any, folder: Path, labels: int = 3) -> Any:
    config.task_type = TaskType.SEQ_CLS
    torch.manual_seed(1)
    return adapt(AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels), config, folder)


def encode(base: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(base)
    return tokenizer(["I love this", "What a waste of time. I want my money back"], return_tensors="pt", padding=True)


def require_equal(adapted: Any, checkpoint: Any, inputs: Any) -> None:
    loaded = load(checkpoint).model
    assert not [name for name, _ in loaded.named_modules() if "lora" in name or "base_layer" in name]
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs).logits, adapted(**inputs).logits, atol=1e-4, rtol=1e-3)
        with adapted.disable_adapter():
            assert not torch.allclose(loaded(**inputs).logits, adapted(**inputs).logits, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_adapters(kind: str, base: Path, tmp_path: Path) -> None:
    adapted = adapt_classifier(base, KINDS[kind], tmp_path / "adapter")
    checkpoint = resolve(Request(tmp_path / "adapter"))
    assert (checkpoint.name, checkpoint.task.name) == ("adapter", "text-classification")
    require_equal(adapted, checkpoint, encode(base))


def test_a_bundle_gives_what_the_pipeline_of_transformers_gives(base: Path, tmp_path: Path) -> None:
    adapt_classifier(base, LoraConfig(init_lora_weights=False), tmp_path / "adapter")
    bundle = export(tmp_path / "adapter", tmp_path / "bundle")
    assert bundle.manifest is not None
    assert (bundle.manifest.source.model, bundle.manifest.source.base) == ("adapter", base.name)
    assert f"an adapter for `{base.name}`" in (bundle.path / "README.md").read_text(encoding="utf-8")
    classify = pipeline(model=bundle)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "adapter")
    reference = transformers.pipeline("text-classification", model, tokenizer=str(base), device="cpu")
    for text in ("I love this", "What a waste of time"):
        (expected, got) = (each(text, top_k=None) for each in (reference, classify))
        assert [entry["label"] for entry in got] == [entry["label"] for entry in expected]
        assert [entry["score"] for entry in got] == pytest.approx([entry["score"] for entry in expected], abs=1e-4)


def test_a_config_beside_the_adapter_names_the_labels(base: Path, tmp_path: Path) -> None:
    adapted = adapt_classifier(base, LoraConfig(init_lora_weights=False), tmp_path)
    adapted.config.id2label = dict(enumerate(LABELS))
    adapted.config.save_pretrained(tmp_path)
    assert load(resolve(Request(tmp_path))).model.config.id2label == dict(enumerate(LABELS))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_decoders_with_tokens_of_their_own(family: str, tmp_path: Path) -> None:
    model, tokenizer = build_generative(family)
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    tokenizer.add_tokens(["<call>", "<answer>"])
    tokenizer.save_pretrained(tmp_path / "adapter")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model.resize_token_embeddings(len(tokenizer))
    embeddings = ["wte", "lm_head"] if family == "gpt2" else ["embed_tokens", "lm_head"]
    config = LoraConfig(init_lora_weights=False, task_type="CAUSAL_LM", modules_to_save=embeddings)
    adapted = adapt(model, config, tmp_path / "adapter")
    inputs = tokenizer("Hello <call> there<answer>", return_tensors="pt")
    require_equal(adapted, resolve(Request(tmp_path / "adapter", "text-generation")), inputs)


def test_tokens_that_were_trained_alone(tmp_path: Path) -> None:
    model, tokenizer = build_generative("llama")
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    old = len(tokenizer)
    tokenizer.add_tokens(["<call>"])
    tokenizer.save_pretrained(tmp_path / "adapter")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model.resize_token_embeddings(len(tokenizer))
    config = LoraConfig(init_lora_weights=False, task_type="CAUSAL_LM", trainable_token_indices={"embed_tokens": [old]})
    adapted = adapt(model, config, tmp_path / "adapter")
    loaded = load(resolve(Request(tmp_path / "adapter"))).model
    inputs = tokenizer("Hello <call> there", return_tensors="pt")
    with torch.no_grad():  # the new row of the head was not trained, and is another each time that it is made
        expected = adapted(**inputs).logits[..., :old]
        torch.testing.assert_close(loaded(**inputs).logits[..., :old], expected, atol=1e-4, rtol=1e-3)


def test_an_encoder_decoder(tmp_path: Path) -> None:
    model, tokenizer = build_generative("t5")
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "base")
    adapted = adapt(model, LoraConfig(init_lora_weights=False, task_type="SEQ_2_SEQ_LM"), tmp_path / "adapter")
    inputs = dict(tokenizer("Hello there", return_tensors="pt"))
    inputs["decoder_input_ids"] = inputs["input_ids"]
    checkpoint = resolve(Request(tmp_path / "adapter"))
    assert checkpoint.task.name == "text2text-generation"
    require_equal(adapted, checkpoint, inputs)


def test_a_model_of_peft_in_memory(base: Path, tmp_path: Path) -> None:
    adapted = adapt_classifier(base, LoraConfig(init_lora_weights=False), tmp_path)
    inputs = encode(base)
    require_equal(adapted, resolve(Request(adapted, tokenizer=base)), inputs)
    assert isinstance(adapted, PeftModel)
    assert any("lora_A" in name for name, _ in adapted.named_modules())  # the caller's own stays as it is


@pytest.mark.parametrize("beside", [True, False])
def test_the_layers_of_sentence_transformers_stay(beside: bool, base: Path, tmp_path: Path) -> None:
    layers = [modules.Transformer(str(base)), modules.Pooling(32, "max")]
    SentenceTransformer(modules=layers, device="cpu").save(str(tmp_path / "base"))
    config = LoraConfig(init_lora_weights=False, task_type="FEATURE_EXTRACTION")
    adapted = adapt(AutoModel.from_pretrained(tmp_path / "base"), config, tmp_path / "adapter")
    if beside:  # as sentence-transformers saves it
        for name in ("modules.json", "1_Pooling"):
            (tmp_path / "base" / name).rename(tmp_path / "adapter" / name)
    checkpoint = resolve(Request(tmp_path / "adapter"))
    assert checkpoint.task.name == "feature-extraction"
    (tmp_path / "bundle").mkdir()
    write_sentence_files(checkpoint, tmp_path / "bundle")
    assert "max" in (tmp_path / "bundle" / "1_Pooling" / "config.json").read_text()
    inputs = encode(base)
    with torch.no_grad():
        expected, got = adapted(**inputs), load(checkpoint).model(**inputs)
    torch.testing.assert_close(got.last_hidden_state, expected.last_hidden_state, atol=1e-4, rtol=1e-3)


def edit(folder: Path, **entries: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    """An adapter that can be changed, of a base with another path each time."""
    adapt_classifier(base, LoraConfig(init_lora_weights=False), tmp_path / "adapter")
    return tmp_path / "adapter"


def test_where_the_base_is(adapter: Path, base: Path) -> None:
    shutil.copytree(base, adapter / "beside")
    edit(adapter, base_model_name_or_path="beside")
    assert resolve(Request(adapter)).base == adapter / "beside"
    edit(adapter, base_model_name_or_path="/nowhere/at/all")
    with pytest.raises(CheckpointError, match=r"adapter for /nowhere/at/all, which does not exist here; .*--base"):
        resolve(Request(adapter))
    edit(adapter, base_model_name_or_path="someone/bert")
    with pytest.raises(DownloadError, match=r"adapter for someone/bert: .*--base"):
        resolve(Request(adapter))
    edit(adapter, base_model_name_or_path=None)
    with pytest.raises(CheckpointError, match=r"does not name the model it is for; .*--base"):
        resolve(Request(adapter))
    assert resolve(Request(adapter, base=base)).base == base


def test_a_base_that_is_an_adapter(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is an adapter too; merge that first"):
        resolve(Request(adapter, base=adapter))


def test_a_base_for_what_needs_none(base: Path) -> None:
    with pytest.raises(InputError, match=r"base= .*has weights and a config"):
        resolve(Request(base, base=base))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "of the kind PROMPT_TUNING, which has tokens or layers of its own"),
        ({"peft_type": "PREFIX_TUNING"}, "of the kind PREFIX_TUNING"),
        ({"peft_type": "TOMORROW"}, f"of the kind TOMORROW, which peft {peft.__version__} does not know"),
        ({"peft_type": None}, "of the kind None"),
    ],
)
def test_kinds_that_are_refused_before_anything_is_loaded(entries: dict[str, Any], message: str, adapter: Path) -> None:
    edit(adapter, **entries)
    with pytest.raises(CheckpointError, match=message):
        resolve(Request(adapter))


def test_an_adapter_without_weights_or_with_pickled_ones(adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    (adapter / "adapter_model.bin").write_bytes(b"")
    weights.rename(adapter / "kept")
    with pytest.raises(CheckpointError, match=r"only pickled weights \(adapter_model\.bin\).*--allow-pickle"):
        resolve(Request(adapter))
    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"adapter without weights: there is no adapter_model\.safetensors"):
        resolve(Request(adapter))


def test_pickled_weights_that_are_allowed(base: Path, tmp_path: Path) -> None:
    adapted = adapt_classifier(base, LoraConfig(init_lora_weights=False), tmp_path)
    adapted.save_pretrained(tmp_path, safe_serialization=False)
    (tmp_path / "adapter_model.safetensors").unlink(missing_ok=True)
    require_equal(adapted, resolve(Request(tmp_path, allow_pickle=True)), encode(base))


def test_an_adapter_of_another_model(adapter: Path, tmp_path: Path) -> None:
    build("distilbert", task="feature-extraction", directory=tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"adapter .*DistilBertForSequenceClassification"):
        load(resolve(Request(adapter, base=tmp_path / "other")))


def test_an_adapter_without_the_head_that_its_base_lacks(base: Path, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(base)
    adapt(model, LoraConfig(init_lora_weights=False, target_modules=QUERIES), tmp_path)
    with pytest.raises(CheckpointError, match=r"neither the adapter .* nor its base .*classifier.*modules_to_save"):
        load(resolve(Request(tmp_path, "text-classification")))


def test_an_adapter_that_does_more_than_to_change_weights(tmp_path: Path) -> None:
    """An activated LoRA works on what follows certain tokens, and on nothing else."""
    model, tokenizer = build_generative("llama")
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    config = LoraConfig(init_lora_weights=False, task_type="CAUSAL_LM", alora_invocation_tokens=[5, 6])
    adapt(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), config, tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"cannot be merged exactly|PEFT cannot merge"):
        load(resolve(Request(tmp_path / "adapter")))
