"""Checkpoints of which something would be lost: directories that their own libraries write, where those are here."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer import modules
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder
from transformers import AutoTokenizer, BertConfig, BertModel

from edgepipe import pipeline
from edgepipe.errors import CheckpointError, InputError
from edgepipe_export import export
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.checkpoint.unsupported import find_activation, has_weights
from tests.export.checkpoint.small_checkpoint import SMALL, edit_config
from tests.tiny import build


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model, of which the encoders here are made."""
    folder = tmp_path_factory.mktemp("masked") / "bert"
    build("bert", task="fill-mask", directory=folder)
    return folder


def save_sparse(masked: Path, folder: Path) -> None:
    SparseEncoder(str(masked), device="cpu").save(str(folder))


def save_sparse_autoencoder(masked: Path, folder: Path) -> None:
    layers = [modules.Transformer(str(masked)), modules.Pooling(32), SparseAutoEncoder(32, hidden_dim=64)]
    SparseEncoder(modules=layers, device="cpu").save(str(folder))


def save_multi_vector(masked: Path, folder: Path) -> None:
    MultiVectorEncoder(str(masked), device="cpu").save(str(folder))


def make_static(masked: Path) -> modules.StaticEmbedding:
    return modules.StaticEmbedding(AutoTokenizer.from_pretrained(masked), embedding_dim=32)


def save_static(masked: Path, folder: Path) -> None:
    SentenceTransformer(modules=[make_static(masked)], device="cpu").save(str(folder))


def save_router(masked: Path, folder: Path) -> None:
    query = [modules.Transformer(str(masked)), modules.Pooling(32)]
    router = modules.Router.for_query_document(query, [make_static(masked)])
    SentenceTransformer(modules=[router], device="cpu").save(str(folder))


@pytest.mark.parametrize(
    ("save", "named"),
    [
        (save_sparse, "SparseEncoder"),
        (save_sparse_autoencoder, "SparseEncoder"),
        (save_multi_vector, "MultiVectorEncoder"),
        (save_static, "StaticEmbedding"),
        (save_router, "Router"),
    ],
)
def test_other_encoders_of_sentence_transformers(save: Any, named: str, masked: Path, tmp_path: Path) -> None:
    save(masked, tmp_path / "encoder")
    with pytest.raises(CheckpointError, match=f"encoder is a sentence-transformers {named} .*run it with"):
        resolve(Request(tmp_path / "encoder"))
    with pytest.raises(CheckpointError, match=named):
        resolve(Request(tmp_path / "encoder", "feature-extraction"))


def test_the_masked_language_model_of_a_sparse_encoder(masked: Path, tmp_path: Path) -> None:
    save_sparse(masked, tmp_path / "encoder")
    assert load(resolve(Request(tmp_path / "encoder", "fill-mask"))).checkpoint.task.name == "fill-mask"


def test_a_dense_encoder_of_token_vectors_alone_stays(masked: Path, tmp_path: Path) -> None:
    SentenceTransformer(modules=[modules.Transformer(str(masked))], device="cpu").save(str(tmp_path / "encoder"))
    assert resolve(Request(tmp_path / "encoder")).task.name == "feature-extraction"


@pytest.mark.parametrize("task", [None, "text-classification"])
def test_a_setfit_model(task: str | None, masked: Path, tmp_path: Path) -> None:
    layers = [modules.Transformer(str(masked)), modules.Pooling(32)]
    SentenceTransformer(modules=layers, device="cpu").save(str(tmp_path / "encoder"))
    (tmp_path / "encoder" / "model_head.pkl").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"SetFit.*model_head\.pkl.*feature-extraction"):
        resolve(Request(tmp_path / "encoder", task))
    assert resolve(Request(tmp_path / "encoder", "feature-extraction")).task.name == "feature-extraction"


@pytest.mark.parametrize(
    ("function", "option", "labels"),
    [(torch.nn.Identity(), "none", 1), (torch.nn.Sigmoid(), None, 1), (torch.nn.Softmax(dim=-1), "softmax", 3)],
)
def test_a_cross_encoder_with_an_activation(function: Any, option: str | None, labels: int, tmp_path: Path) -> None:
    build("bert", directory=tmp_path / "bert", labels=tuple("abc"[:labels]))
    encoder = CrossEncoder(str(tmp_path / "bert"), device="cpu", activation_fn=function)
    encoder.save(str(tmp_path / "encoder"))
    found = find_activation(tmp_path / "encoder", encoder.model.config.to_dict())
    assert found == (None if option is None else (type(function).__name__, option))
    options = {} if option is None else {"function_to_apply": option}
    ask = pipeline(model=export(tmp_path / "encoder", tmp_path / "bundle", verify=False))
    scores = ask({"text": "I love", "text_pair": "this"}, top_k=None, **options)
    expected = encoder.predict([("I love", "this")], convert_to_numpy=True).reshape(-1)
    assert sorted(entry["score"] for entry in scores) == pytest.approx(sorted(expected.tolist()), abs=1e-4)


def test_the_note_on_a_cross_encoder_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build("bert", directory=tmp_path / "bert", labels=("a",))
    CrossEncoder(str(tmp_path / "bert"), device="cpu", activation_fn=torch.nn.Identity()).save(
        str(tmp_path / "encoder")
    )
    export(tmp_path / "encoder", tmp_path / "bundle", verify=False, progress=True)
    assert 'function_to_apply="none"' in capfd.readouterr().err


@pytest.mark.parametrize(
    "entries",
    [
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}},
        {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
    ],
)
def test_the_activation_of_older_cross_encoders(entries: dict[str, Any], tmp_path: Path) -> None:
    assert find_activation(tmp_path, entries) == ("Identity", "none")
    assert find_activation(tmp_path, {}) is None


def write_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "bert"}')
    save_file({"base_model.model.a.lora_A.weight": torch.zeros(1)}, folder / "adapter_model.safetensors")


def test_an_adapter_beside_weights(own_checkpoint: Path) -> None:
    write_adapter(own_checkpoint)
    with pytest.raises(CheckpointError, match=r"beside its weights.*--base"):
        resolve(Request(own_checkpoint))


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        (torch.nn.Linear(1, 1), "got Linear; save it, and name the directory"),
        (SimpleNamespace(), "got SimpleNamespace$"),
    ],
)
def test_models_of_other_libraries(model: Any, hint: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=hint):
        resolve(Request(model, tokenizer=tmp_path))


def test_loaded_models_with_an_adapter_or_quantized_weights(tmp_path: Path) -> None:
    model = BertModel(BertConfig(**SMALL))
    model._hf_peft_config_loaded = True
    with pytest.raises(InputError, match="merge_and_unload"):
        resolve(Request(model, tokenizer=tmp_path))
    model._hf_peft_config_loaded = False
    model.config.quantization_config = {"quant_method": "bitsandbytes"}
    with pytest.raises(CheckpointError, match="bitsandbytes"):
        resolve(Request(model, tokenizer=tmp_path))


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("model-Q4_K_M.gguf", "GGUF.*export the checkpoint that it was made from"),
        ("onnx/model.onnx", "ONNX.*edgepipe run"),
        ("openvino_model.xml", "OpenVINO"),
        ("tf_model.h5", "TensorFlow.*from_tf=True"),
        ("flax_model.msgpack", "Flax.*from_flax=True"),
        ("consolidated.safetensors", "Mistral"),
        ("gliner_config.json", "GLiNER"),
        ("router_config.json", "Router"),
    ],
)
@pytest.mark.parametrize("with_config", [True, False])
def test_weights_in_another_form_alone(file: str, shown: str, with_config: bool, own_checkpoint: Path) -> None:
    (own_checkpoint / "model.safetensors").unlink()
    if not with_config:
        (own_checkpoint / "config.json").unlink()
    (own_checkpoint / file).parent.mkdir(exist_ok=True)
    (own_checkpoint / file).touch()
    with pytest.raises(CheckpointError, match=shown):
        resolve(Request(own_checkpoint))


def test_another_form_beside_the_weights_is_left_alone(own_checkpoint: Path) -> None:
    for file in ("model.gguf", "model.onnx", "tf_model.h5", "consolidated.safetensors"):
        (own_checkpoint / file).touch()
    assert resolve(Request(own_checkpoint)).task.name == "text-classification"


def test_files_with_weights() -> None:
    assert has_weights(["config.json", "model-00001-of-00002.safetensors"])
    assert has_weights(["pytorch_model.bin"])
    assert not has_weights(["1_Dense/model.safetensors", "adapter_model.safetensors", "training_args.bin"])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "awq"}, "awq"),
        ({"bits": 4}, "another tool"),
    ],
)
def test_weights_that_are_quantized_already(settings: dict[str, Any], named: str, own_checkpoint: Path) -> None:
    edit_config(own_checkpoint, quantization_config=settings)
    with pytest.raises(
        CheckpointError, match=f"quantized by {named} already .quantization_config.*no ordinary weights.*--dtype"
    ):
        resolve(Request(own_checkpoint))


@pytest.mark.parametrize(("file", "named"), [("quantize_config.json", "GPTQ"), ("quant_config.json", "AWQ")])
def test_settings_of_quantization_in_a_file(file: str, named: str, own_checkpoint: Path) -> None:
    (own_checkpoint / file).write_text("{}")
    with pytest.raises(CheckpointError, match=f"quantized by {named} already .{file}"):
        resolve(Request(own_checkpoint))


def add_weights(checkpoint: Path, *names: str) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    added = {name: torch.ones(2, 2) for name in names}
    save_file(weights | added, checkpoint / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    "name",
    [
        "qa_outputs.weight",
        "crf.transitions.weight",
        "bert.encoder.layer.2.attention.self.query.weight",
        "bert.encoder.layer.0.attention.self.query.lora_A.default.weight",
        "bert.gate.weight",
    ],
)
def test_weights_that_the_class_leaves_out(name: str, own_checkpoint: Path) -> None:
    add_weights(own_checkpoint, name)
    with pytest.raises(CheckpointError, match=rf"weights that BertForSequenceClassification .*\({re.escape(name)}\)"):
        load(resolve(Request(own_checkpoint)))


@pytest.mark.parametrize(
    "name",
    [
        "bert.pooler.extra.weight",
        "cls.predictions.decoder.weight",
        "cls.seq_relationship.weight",
        "lm_head.weight",
        "loss_fct.weight",
        "bert.embeddings.position_ids",
        "bert.encoder.layer.0.attention.relative_attention_bias.weight",
        "bert.encoder.layer.0.attention.self.rotary_emb.inv_freq",
    ],
)
def test_what_pretraining_and_older_versions_left(name: str, own_checkpoint: Path) -> None:
    add_weights(own_checkpoint, name)
    assert type(load(resolve(Request(own_checkpoint))).model).__name__ == "BertForSequenceClassification"


def test_a_head_that_the_config_does_not_name(own_checkpoint: Path) -> None:
    edit_config(own_checkpoint, architectures=["BertModel"])
    with pytest.raises(CheckpointError, match=r"weights that BertModel leaves out \(classifier\.bias"):
        load(resolve(Request(own_checkpoint)))
    assert type(load(resolve(Request(own_checkpoint, "feature-extraction"))).model).__name__ == "BertModel"


def test_a_layer_less_than_there_are_weights_of(own_checkpoint: Path) -> None:
    edit_config(own_checkpoint, num_hidden_layers=1)
    for task in (None, "feature-extraction"):
        with pytest.raises(CheckpointError, match=r"weights that .*encoder\.layer\.1\."):
            load(resolve(Request(own_checkpoint, task)))
