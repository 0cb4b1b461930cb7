"""Export of encoders without a head and of sentence-transformers directories."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as models
from torch import nn

from edgepipe import pipeline
from edgepipe.bundle.tasks import task_for_architecture
from edgepipe.errors import BundleError, CheckpointError
from edgepipe_export import export, verify
from edgepipe_export.checkpoint.hub_checkpoint import select_files
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.differences import as_vectors, vector_difference
from edgepipe_export.evaluation.metrics.embedding_similarity import recognize
from tests.tiny import LIMIT, build

TEXTS = ["I love this film", "What a waste of time, and of money! " * 6, "日本 🎬"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model that was made a sentence encoder, and so has no pooler."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sentence")
    build("bert", task="fill-mask", directory=folder / "bert")
    transformer = models.Transformer(str(folder / "bert"))
    transformer.max_seq_length = 20
    modules = [transformer, models.Pooling(32, "mean"), models.Dense(32, 16, activation_function=nn.ReLU())]
    modules.append(models.Normalize())
    SentenceTransformer(modules=modules, device="cpu", prompts={"query": "q: "}).save(str(folder / "encoder"))
    for file in (folder / "bert").iterdir():  # the weights and the config of the masked language model
        if file.name in ("config.json", "model.safetensors"):
            shutil.copy(file, folder / "encoder")
    return folder / "encoder"


@pytest.fixture
def own(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(checkpoint, tmp_path / "own"))


def test_a_sentence_transformers_directory(checkpoint: Path, tmp_path: Path) -> None:
    bundle = export(checkpoint, tmp_path / "bundle")
    manifest = bundle.manifest
    assert manifest is not None
    assert (manifest.task, manifest.labels, manifest.max_length) == ("feature-extraction", (), LIMIT)
    listed = {entry.path for entry in manifest.files}
    assert listed >= {
        "modules.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "3_Normalize/config.json",
    }
    assert not any(path.startswith("onnx/") for path in listed)
    parity = manifest.variants["fp32"].parity
    assert parity is not None
    assert (parity.passed, parity.label_agreement) == (True, 1.0)
    # Nothing of a pooler, which this checkpoint does not have, is in the graph.
    graph = onnx.load(bundle.graph("fp32"), load_external_data=False).graph
    assert [output.name for output in graph.output] == ["last_hidden_state"]
    assert not {"Tanh"} & {node.op_type for node in graph.node}

    reference = SentenceTransformer(str(checkpoint), device="cpu")
    for prompt in (None, "query"):
        got = pipeline(model=bundle).embed(TEXTS, prompt_name=prompt)
        np.testing.assert_allclose(got, reference.encode(TEXTS, prompt_name=prompt), rtol=1e-3, atol=1e-4)

    # The same as another task, and checked again with our own texts.
    similar = export(checkpoint, tmp_path / "similar", task="sentence-similarity", verify=False)
    found = verify(similar, checkpoint, texts=TEXTS[:2])
    assert found.passed, found.table()
    assert similar.task == "sentence-similarity"
    assert pipeline(model=similar)({"source_sentence": TEXTS[0], "sentences": TEXTS})[0] == pytest.approx(1)

    weights = bundle.path / "2_Dense" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match=r"2_Dense/model\.safetensors was altered"):
        bundle.check()


def test_the_encoder_of_a_model_that_writes(tmp_path: Path) -> None:
    """As sentence-T5: the checkpoint may hold the whole model, sentence-transformers embeds with its encoder."""
    torch.manual_seed(0)
    build("t5", task="feature-extraction", directory=tmp_path / "t5")
    modules = [models.Transformer(str(tmp_path / "t5")), models.Pooling(32, "mean"), models.Normalize()]
    reference = SentenceTransformer(modules=modules, device="cpu")
    reference.save(str(tmp_path / "encoder"))
    bundle = export(tmp_path / "encoder", tmp_path / "bundle")
    assert bundle.manifest is not None
    assert (bundle.manifest.task, bundle.manifest.source.architecture) == ("feature-extraction", "T5EncoderModel")
    ours = pipeline("feature-extraction", bundle).embed(TEXTS)
    np.testing.assert_allclose(ours, reference.encode(TEXTS), atol=1e-5)


def test_a_whole_model_that_writes_is_not_an_encoder(tmp_path: Path) -> None:
    encoder, tokenizer = build("t5", task="feature-extraction")
    whole = transformers.T5Model(encoder.config)
    with pytest.raises(CheckpointError, match=r"transformers\.T5EncoderModel\.from_pretrained"):
        export(whole, tmp_path / "bundle", tokenizer=tokenizer)
    whole.save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")
    loaded = load(resolve(Request(tmp_path / "whole")))
    assert type(loaded.model).__name__ == "T5EncoderModel"


def test_pickled_layers(own: Path, tmp_path: Path) -> None:
    dense = own / "2_Dense"
    kept = SentenceTransformer(str(own), device="cpu")[2].state_dict()
    (dense / "model.safetensors").unlink()
    torch.save(kept, dense / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pickled weights \(pytorch_model\.bin\).*allow_pickle=True"):
        export(own, tmp_path / "bundle", verify=False)
    bundle = export(own, tmp_path / "bundle", verify=False, allow_pickle=True)
    assert not list(bundle.path.rglob("*.bin"))
    expected = SentenceTransformer(str(own), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(pipeline(model=bundle).embed(TEXTS), expected, rtol=1e-3, atol=1e-4)


def test_a_layer_that_the_runtime_does_not_have(own: Path, tmp_path: Path) -> None:
    path = own / "modules.json"
    entries = json.loads(path.read_text())
    entries[2]["type"] = "sentence_transformers.models.CNN"
    path.write_text(json.dumps(entries))
    with pytest.raises(CheckpointError, match=r"cannot embed with.*has a CNN module.*exported as an ordinary encoder"):
        export(own, tmp_path / "bundle", verify=False)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("architecture", "modules", "wanted", "expected"),
    [
        ("BertModel", True, None, "feature-extraction"),
        ("BertForMaskedLM", True, None, "feature-extraction"),
        ("BertForMaskedLM", False, None, "fill-mask"),
        ("BertModel", False, None, "feature-extraction"),
        ("BertForMaskedLM", True, "fill-mask", "fill-mask"),
        ("BertForMaskedLM", False, "feature-extraction", "feature-extraction"),
        ("BertForMaskedLM", True, "sentence-similarity", "sentence-similarity"),
        ("BertForSequenceClassification", False, "zero-shot-classification", "zero-shot-classification"),
    ],
)
def test_the_task(own: Path, architecture: str, modules: bool, wanted: str | None, expected: str) -> None:
    config = own / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"architectures": [architecture]}))
    if not modules:
        (own / "modules.json").unlink()
    assert resolve(Request(own, wanted)).task.name == expected


@pytest.mark.parametrize("architecture", ["GPT2LMHeadModel", "GPT2DoubleHeadsModel", "BertLMHeadModel"])
def test_a_head_whose_class_is_named_like_a_body(architecture: str) -> None:
    assert task_for_architecture([architecture]) != "feature-extraction"


def test_what_is_downloaded() -> None:
    names = ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin"]
    rest = ["model.safetensors", "modules.json", "onnx/model.onnx", "openvino/config.json", "train_script.py"]
    found = select_files("owner/name", names + rest, allow_pickle=False, remote_code=False)
    assert found == ["1_Pooling/config.json", "2_Dense/config.json", *names[2:3], "modules.json", "model.safetensors"]
    assert names[3] in select_files("owner/name", names + rest, allow_pickle=True, remote_code=False)


# Results that are vectors.


def results(noise: float, count: int = 20) -> list[Any]:
    """Hidden states of texts, [1, 3, 8] each, with noise."""
    states = np.random.default_rng(0).standard_normal((count, 1, 3, 8))
    return (states + noise * np.random.default_rng(1).standard_normal(states.shape)).tolist()


def test_differences_of_vectors() -> None:
    reference = as_vectors(results(0)[0])
    assert reference is not None
    assert vector_difference(reference, results(1e-5)[0]) is None
    assert "instead of" in str(vector_difference(reference, results(0.1)[0]))
    assert "shape None" in str(vector_difference(reference, []))
    nan = [[[float("nan")] * 8] * 3]
    assert "nan instead of" in str(vector_difference(reference, nan))
    for other in ([], [{"label": "a", "score": 0.5}], {"a": 1}, [[]], [["a"]], [[1.0]]):
        assert as_vectors(other) is None


def test_vectors_are_recognized_until_they_collapse() -> None:
    reference, near, far = ([np.array(result) for result in results(noise)] for noise in (0, 0.1, 50))
    distance, recognized = recognize(reference, reference)
    assert distance == pytest.approx(0, abs=1e-9)
    assert recognized.all()
    distance, recognized = recognize(reference, near)
    assert 0 < distance < 0.1
    assert recognized.all()
    assert recognize(reference, far)[1].mean() < 0.5
