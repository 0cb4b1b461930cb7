from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir
import pytest

from edgepipe.backend.engines import create_session
from edgepipe.errors import ExportError
from edgepipe_export.tracing.passes.decompose_attention import DecomposeAttentionPass
from edgepipe_export.tracing.serialization import save_graph

HEADS, KV_HEADS, HEAD_DIM, PAST, NEW = 4, 2, 8, 3, 2
FLOAT, INT32 = onnx_ir.DataType.FLOAT, onnx_ir.DataType.INT32


def attention(*, with_mask: bool = True) -> onnx_ir.Model:
    """One GroupQueryAttention of a causal model, as a traced decoder has it."""
    cache = ["batch", KV_HEADS, "past", HEAD_DIM]
    inputs = [
        onnx_ir.val("query", FLOAT, ["batch", "new", HEADS * HEAD_DIM]),
        onnx_ir.val("key", FLOAT, ["batch", "new", KV_HEADS * HEAD_DIM]),
        onnx_ir.val("value", FLOAT, ["batch", "new", KV_HEADS * HEAD_DIM]),
        onnx_ir.val("past_key", FLOAT, cache),
        onnx_ir.val("past_value", FLOAT, cache),
        onnx_ir.val("seqlens_k", INT32, ["batch"]),
        onnx_ir.val("total_sequence_length", INT32, []),
        onnx_ir.val("mask", FLOAT, ["batch", 1, "new", "total"]),
    ]
    node = onnx_ir.node(
        "GroupQueryAttention",
        [*inputs[:7], None, None, None, inputs[7] if with_mask else None],
        attributes={"num_heads": HEADS, "kv_num_heads": KV_HEADS, "scale": 0.5},
        domain="com.microsoft",
        num_outputs=3,
        name="attention",
    )
    for value, name in zip(node.outputs, ("output", "present_key", "present_value"), strict=True):
        value.name, value.type = name, onnx_ir.TensorType(FLOAT)
    node.outputs[0].shape = onnx_ir.Shape(["batch", "new", HEADS * HEAD_DIM])
    for value in node.outputs[1:]:
        value.shape = onnx_ir.Shape(["batch", KV_HEADS, "total", HEAD_DIM])
    imports = {"": 20, "com.microsoft": 1}
    graph = onnx_ir.Graph(inputs, node.outputs, nodes=[node], opset_imports=imports, name="attention")
    return onnx_ir.Model(graph, ir_version=10)


def test_it_gives_what_the_operator_gives(tmp_path: Path) -> None:
    model = attention()
    save_graph(model, tmp_path / "fused.onnx")
    assert DecomposeAttentionPass()(model).modified
    assert not any(node.op_type == "GroupQueryAttention" for node in model.graph)
    assert not DecomposeAttentionPass()(model).modified
    save_graph(model, tmp_path / "decomposed.onnx")
    numbers = np.random.default_rng(0)
    positions = np.arange(PAST + NEW)
    mask = np.where(positions[None, :] <= positions[PAST:, None], 0.0, np.finfo(np.float32).min).astype(np.float32)
    feeds = {
        "query": numbers.normal(size=(1, NEW, HEADS * HEAD_DIM)).astype(np.float32),
        "key": numbers.normal(size=(1, NEW, KV_HEADS * HEAD_DIM)).astype(np.float32),
        "value": numbers.normal(size=(1, NEW, KV_HEADS * HEAD_DIM)).astype(np.float32),
        "past_key": numbers.normal(size=(1, KV_HEADS, PAST, HEAD_DIM)).astype(np.float32),
        "past_value": numbers.normal(size=(1, KV_HEADS, PAST, HEAD_DIM)).astype(np.float32),
        "seqlens_k": np.array([PAST + NEW - 1], np.int32),
        "total_sequence_length": np.array(PAST + NEW, np.int32),
        "mask": mask[None, None],
    }
    fused, decomposed = (create_session(tmp_path / f"{name}.onnx") for name in ("fused", "decomposed"))
    expected = fused.run(feeds)
    got = decomposed.run({name: feeds[name] for name in decomposed.inputs})
    assert list(got) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def test_attention_without_a_mask_cannot_be_decomposed() -> None:
    with pytest.raises(ExportError, match="attention has no mask"):
        DecomposeAttentionPass()(attention(with_mask=False))
