from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx_ir
import pytest
import torch

from edgepipe import Bundle, Model
from edgepipe_export.tracing.encoder import trace_encoder
from edgepipe_export.tracing.serialization import save_graph
from tests.tiny import LIMIT, build


def graph_of(bundle: Bundle, dtype: str = "fp32") -> onnx_ir.Graph:
    return onnx_ir.load(bundle.graph(dtype)).graph


def test_names_types_and_dimensions(exported: Bundle) -> None:
    graph = graph_of(exported)
    assert [value.name for value in graph.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    for value in graph.inputs:
        assert value.dtype == onnx_ir.DataType.INT64
        assert value.shape == onnx_ir.Shape(["batch_size", "sequence_length"])
    assert [(value.name, value.dtype, value.shape) for value in graph.outputs] == [
        ("logits", onnx_ir.DataType.FLOAT, onnx_ir.Shape(["batch_size", 3]))
    ]


def test_no_other_symbol_is_left_in_any_shape(exported: Bundle) -> None:
    for node in graph_of(exported).all_nodes():
        for value in node.outputs:
            for dimension in value.shape or ():
                symbol = getattr(dimension, "value", None) or ""
                assert not re.search(r"\bs\d+\b", symbol), symbol


@pytest.mark.parametrize("length", [1, 2, 13, LIMIT])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_batch_size_and_length(exported: Bundle, checkpoint: Path, batch: int, length: int) -> None:
    from transformers import AutoModelForSequenceClassification

    reference = AutoModelForSequenceClassification.from_pretrained(checkpoint, attn_implementation="eager")
    generator = np.random.default_rng(length)
    ids = generator.integers(0, reference.config.vocab_size, (batch, length))
    types = generator.integers(0, 2, (batch, length))
    mask = np.ones_like(ids)
    mask[0, length // 2 + 1 :] = 0
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    with torch.no_grad():
        expected = reference(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits.numpy()
    got = Model(exported, "fp32")(**inputs)["logits"]
    np.testing.assert_allclose(got, expected, atol=1e-4, rtol=1e-3)


def test_weights_are_outside_the_graph_and_ready_for_matmul(exported: Bundle) -> None:
    graph = graph_of(exported)
    weights = [value.const_value for value in graph.initializers.values()]
    large = [tensor for tensor in weights if tensor is not None and tensor.nbytes > 256]
    assert large
    for tensor in large:
        assert isinstance(tensor, onnx_ir.ExternalTensor)
        assert str(tensor.location) == "model.onnx_data"
    assert not [node for node in graph if node.op_type == "Transpose" and node.inputs[0].is_initializer()]
    assert not [name for name, value in graph.initializers.items() if not value.uses()]


def test_the_graph_says_nothing_about_who_made_it_where(exported: Bundle) -> None:
    for dtype in exported.dtypes:
        content = exported.graph(dtype).read_bytes()
        assert b"site-packages" not in content
        assert str(Path.home()).encode() not in content
        assert str(exported.path.parent).encode() not in content


def test_an_input_the_graph_does_not_read_is_dropped() -> None:
    model, _ = build("deberta-v3")  # takes token_type_ids, and with type_vocab_size 0 never looks at them
    graph = trace_encoder(model, ("input_ids", "attention_mask", "token_type_ids"), ("logits",)).graph
    assert [value.name for value in graph.inputs] == ["input_ids", "attention_mask"]


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    model, _ = build("albert")
    parameters = sum(parameter.numel() for parameter in model.parameters()) * 4
    program = trace_encoder(model, ("input_ids", "attention_mask"), ("logits",))
    _, weights = save_graph(program, tmp_path / "model.onnx")
    assert weights.stat().st_size < 1.01 * parameters


def test_the_opset_can_be_chosen() -> None:
    model, _ = build("distilbert")
    assert trace_encoder(model, ("input_ids", "attention_mask"), ("logits",), opset=18).opset_imports[""] == 18
