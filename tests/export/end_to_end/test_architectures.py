"""Tensor parity with PyTorch for every architecture, over lengths and batches; and a real checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
import torch
import transformers

from edgepipe import Bundle, Model, pipeline
from edgepipe.backend.engines import create_session
from edgepipe.errors import InputError
from edgepipe_export import export
from edgepipe_export.tracing.passes.fuse_attention import FuseAttentionPass
from edgepipe_export.tracing.serialization import save_graph
from tests.conftest import Exported, shared
from tests.golden.cases import MODELS
from tests.golden.compare import assert_same
from tests.tiny import ARCHITECTURES, LIMIT

every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)
BATCHES = (1, 2, 5)
LENGTHS = (1, 2, 31, LIMIT)
FIRST = MODELS["single label"]
# DeBERTa's relative positions are products of their own, and ModernBERT turns queries and keys by their positions.
WRITTEN_OUT = ("deberta-v2", "deberta-v3", "modernbert")


def tokens(exported: Exported, batch: int, length: int) -> dict[str, torch.Tensor]:
    """Random tokens without special ones, every row but the first padded by its number of tokens."""
    vocabulary = exported.model.config.vocab_size
    special = set(exported.tokenizer.all_special_ids)
    generator = np.random.default_rng([batch, length])
    ids = generator.choice([token for token in range(vocabulary) if token not in special], (batch, length))
    mask = np.ones_like(ids)
    for row in range(1, batch):
        kept = max(1, length - row)
        ids[row, kept:] = exported.tokenizer.pad_token_id
        mask[row, kept:] = 0
    feeds = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in exported.tokenizer.model_input_names:
        types = np.zeros_like(ids)
        types[:, length // 2 :] = 1
        feeds["token_type_ids"] = types * mask
    return {name: torch.from_numpy(array) for name, array in feeds.items()}


@every_architecture
def test_tensors_for_every_length_and_batch(architecture: str, tiny_export: Callable[..., Exported]) -> None:
    made = tiny_export(architecture, **FIRST)
    model = Model(made.bundle)
    for length in LENGTHS:
        for batch in BATCHES:
            feeds = tokens(made, batch, length)
            with torch.no_grad():
                expected = made.model(**feeds).logits.numpy()
            actual = model(**{name: tensor.numpy() for name, tensor in feeds.items()})["logits"]
            assert actual.shape == (batch, FIRST["num_labels"])
            np.testing.assert_allclose(
                actual, expected, atol=1e-4, rtol=1e-3, err_msg=f"batch {batch}, length {length}"
            )


@every_architecture
def test_one_token_more_than_the_limit(architecture: str, tiny_export: Callable[..., Exported]) -> None:
    made = tiny_export(architecture, **FIRST)
    model = Model(made.bundle)
    feeds = {name: tensor.numpy() for name, tensor in tokens(made, 1, LIMIT + 1).items()}
    if made.bundle.max_length is None:  # positions are relative: PyTorch goes on as well
        with torch.no_grad():
            expected = made.model(**{name: torch.from_numpy(array) for name, array in feeds.items()}).logits.numpy()
        np.testing.assert_allclose(model(**feeds)["logits"], expected, atol=1e-4, rtol=1e-3)
    else:
        with pytest.raises(InputError, match=f"{LIMIT + 1} tokens are more than the {LIMIT}"):
            model(**feeds)
    word = made.tokenizer.convert_ids_to_tokens(int(feeds["input_ids"][0, 0]))
    text = " ".join([word] * (LIMIT + 1))
    reference = transformers.pipeline("text-classification", model=made.model, tokenizer=made.tokenizer, device="cpu")
    ours = pipeline("text-classification", made.bundle)
    for batch in BATCHES:
        expected = reference([text] * batch, truncation=True, top_k=None)
        assert_same(ours([text] * batch, batch_size=batch, truncation=True, top_k=None), expected)


@every_architecture
def test_the_graph(architecture: str, tiny_export: Callable[..., Exported]) -> None:
    """Names and dynamic dimensions as documented, and no input that nothing reads."""
    made = tiny_export(architecture, **FIRST)
    model = onnx.load(made.bundle.graph("fp32"), load_external_data=False)
    onnx.checker.check_model(str(made.bundle.graph("fp32")))
    types = next((p for name, p in made.model.named_parameters() if "token_type_embeddings" in name), None)
    reads_types = types is not None and types.shape[0] > 1
    reads_types &= "token_type_ids" in made.tokenizer.model_input_names  # transformers 5 makes none for ALBERT
    names = [node.name for node in model.graph.input]
    assert names == ["input_ids", "attention_mask", "token_type_ids"][: 2 + reads_types]
    for node in model.graph.input:
        dimensions = [dimension.dim_param for dimension in node.type.tensor_type.shape.dim]
        assert dimensions == ["batch_size", "sequence_length"], node.name
        assert any(node.name in operation.input for operation in model.graph.node), f"nothing reads {node.name}"
    assert [node.name for node in model.graph.output] == ["logits"]
    read = {name for operation in model.graph.node for name in operation.input} | {"logits"}
    unread = [
        operation.name for operation in model.graph.node if not any(name in read for name in operation.output if name)
    ]
    assert unread == []
    assert {tensor.name for tensor in model.graph.initializer} <= read
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims, dtype=int) >= LIMIT * 32:
            assert tensor.data_location == onnx.TensorProto.EXTERNAL, f"{tensor.name} lies inside of the graph"


def test_the_verification_measures_what_these_tests_measure(
    tiny_export: Callable[..., Exported], tmp_path: Path
) -> None:
    made = tiny_export("bert", **FIRST)
    bundle = export(made.model, tmp_path / "bundle", tokenizer=made.tokenizer, verify=True)
    assert bundle.manifest is not None
    parity = bundle.manifest.variants["fp32"].parity
    assert parity is not None
    assert parity.passed
    assert parity.label_agreement == 1.0
    assert 0 <= parity.max_abs_diff["logits"] <= 1e-4


def test_a_real_checkpoint(minilm_sst2: Path, minilm_sst2_bundle: Bundle) -> None:
    lines = shared("data", "sst2", "dev.tsv").read_text(encoding="utf-8").splitlines()[:200]
    sentences = [line.split("\t")[0] for line in lines]
    reference = transformers.pipeline("text-classification", model=str(minilm_sst2), device="cpu")
    expected = reference(sentences)
    assert {result["label"] for result in expected} == {"NEGATIVE", "POSITIVE"}
    ours = pipeline("text-classification", minilm_sst2_bundle)
    assert_same(ours(sentences), expected)
    assert_same(ours(sentences, batch_size=8), expected)


@every_architecture
def test_attention_as_one_operator(architecture: str, tiny_export: Callable[..., Exported], tmp_path: Path) -> None:
    """What int8 has in the place of written-out attention, in fp32: where it is found, nothing changes."""
    made = tiny_export(architecture, **FIRST)
    graph = onnx_ir.load(made.bundle.graph("fp32"))
    layers = sum(node.op_type == "Softmax" for node in graph.graph)
    fused = FuseAttentionPass()(graph).modified
    assert fused == (architecture not in WRITTEN_OUT), [node.op_type for node in graph.graph]
    if not fused:
        return
    assert sum(node.op_type == "Attention" for node in graph.graph) == layers
    save_graph(graph, tmp_path / "model.onnx")
    written_out, session = create_session(made.bundle.graph("fp32")), create_session(tmp_path / "model.onnx")
    assert session.output_shapes == written_out.output_shapes
    for length in LENGTHS:
        given = {name: tensor.numpy() for name, tensor in tokens(made, 5, length).items()}
        feeds = {name: given[name] for name in session.inputs}
        np.testing.assert_allclose(session.run(feeds)["logits"], written_out.run(feeds)["logits"], atol=1e-5)
