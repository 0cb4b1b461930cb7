from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import pytest
from numpy.typing import NDArray

from edgepipe.backend.engines import create_session
from edgepipe_export.tracing.passes.fuse_attention import FuseAttentionPass
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.small_graphs import SmallGraph

BATCH, LENGTH, HEADS, HEAD_DIM = 3, 7, 4, 8
WIDTH = HEADS * HEAD_DIM
SPLIT: list[int | str] = ["batch", "length", HEADS, HEAD_DIM]
SCORES: list[int | str] = ["batch", HEADS, "length", "length"]
JOINED: list[int | str] = ["batch", "length", WIDTH]
MASK: list[int | str] = ["batch", 1, "length", "length"]
POSITIONS: list[int | str] = [1, HEADS, "length", "length"]


def attention(
    *,
    scale_query: bool = False,
    divide: bool = False,
    positions: bool = False,
    mask: list[int | str] | None = MASK,
    transpose_twice: bool = False,
    read_weights: bool = False,
    mask_first: bool = False,
) -> onnx_ir.Model:
    """Attention as traced models have it, in one of their forms."""
    graph = SmallGraph()

    def heads(name: str, permutation: list[int], shape: list[int | str]) -> onnx_ir.Value:
        states = graph.input(name, JOINED)
        split = graph.node("Reshape", states, shape_to_split, name=f"split_{name}", shape=SPLIT)
        return graph.node("Transpose", split, name=f"{name}_heads", shape=shape, perm=permutation)

    shape_to_split = graph.constant("to_split", np.array([0, 0, HEADS, HEAD_DIM]))
    by_head: list[int | str] = ["batch", HEADS, "length", HEAD_DIM]
    turned: list[int | str] = ["batch", HEADS, HEAD_DIM, "length"]
    query, value = heads("query", [0, 2, 1, 3], by_head), heads("value", [0, 2, 1, 3], by_head)
    if transpose_twice:
        key = heads("key", [0, 2, 1, 3], by_head)
        key = graph.node("Transpose", key, name="turn_key", shape=turned, perm=[0, 1, 3, 2])
    else:
        key = heads("key", [0, 2, 3, 1], turned)
    factor = graph.constant("factor", np.array(HEAD_DIM**0.5 if divide else HEAD_DIM**-0.5, np.float32))
    if scale_query:
        query = graph.node("Mul", query, factor, name="scale", shape=by_head)
    scores = graph.node("MatMul", query, key, name="scores", shape=SCORES)
    if not scale_query:
        scores = graph.node("Div" if divide else "Mul", scores, factor, name="scale", shape=SCORES)
    biases = [graph.input("positions", POSITIONS)] if positions else []
    biases += [graph.input("mask", mask)] if mask is not None else []
    for bias in biases:
        pair = (bias, scores) if mask_first else (scores, bias)
        scores = graph.node("Add", *pair, name=f"add_{bias.name}", shape=SCORES)
    weights = graph.node("Softmax", scores, name="softmax", shape=SCORES, axis=-1)
    context = graph.node("MatMul", weights, value, name="context", shape=by_head)
    together = graph.node("Transpose", context, name="back", shape=SPLIT, perm=[0, 2, 1, 3])
    joined = graph.constant("to_join", np.array([0, 0, WIDTH]))
    output = graph.node("Reshape", together, joined, name="joined", shape=JOINED)
    return graph.finish(output, *([weights] if read_weights else []))


def feeds(model: onnx_ir.Model) -> dict[str, NDArray[Any]]:
    """Random states; a mask that hides a part of the second text, and all of the third."""
    numbers = np.random.default_rng(0)
    visible = np.ones((BATCH, 1, LENGTH, LENGTH), bool)
    visible[1, :, :, 3:] = False
    visible[2] = False
    arrays = {
        name: numbers.normal(size=(BATCH, LENGTH, WIDTH)).astype(np.float32) for name in ("query", "key", "value")
    }
    arrays["positions"] = numbers.normal(size=(1, HEADS, LENGTH, LENGTH)).astype(np.float32)
    arrays["mask"] = np.where(visible, 0, np.finfo(np.float32).min).astype(np.float32)
    for value in model.graph.inputs:
        if value.name == "mask" and value.shape is not None and value.shape[2] == 1:
            arrays["mask"] = arrays["mask"][:, :, :1]
    return {value.name or "": arrays[value.name or ""] for value in model.graph.inputs}


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({}, id="bert"),
        pytest.param({"scale_query": True}, id="scaled-query"),
        pytest.param({"divide": True, "transpose_twice": True}, id="divided"),
        pytest.param({"positions": True}, id="relative-positions"),
        pytest.param({"mask": None}, id="no-mask"),
        pytest.param({"mask_first": True}, id="mask-first"),
        pytest.param({"mask": ["batch", 1, 1, "length"]}, id="mask-for-all-queries"),
        pytest.param({"mask": ["batch", 1, 1, "length"], "positions": True}, id="mask-and-positions"),
    ],
)
def test_one_operator_gives_the_same(tmp_path: Path, form: dict[str, Any]) -> None:
    model = attention(**form)
    inputs = feeds(model)
    save_graph(model, tmp_path / "written_out.onnx")
    assert FuseAttentionPass()(model).modified
    operators = [node.op_type for node in model.graph]
    assert operators.count("Attention") == 1
    assert not {"MatMul", "Softmax", "Transpose", "Reshape"} & set(operators)
    assert not FuseAttentionPass()(model).modified
    save_graph(model, tmp_path / "fused.onnx")
    (name,) = (value.name or "" for value in model.graph.outputs)
    expected, found = (create_session(tmp_path / f"{file}.onnx").run(inputs)[name] for file in ("written_out", "fused"))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({"read_weights": True}, id="weights-are-an-output"),
        pytest.param({"mask": ["length"]}, id="mask-of-one-axis"),
    ],
)
def test_what_the_operator_does_not_take_stays(form: dict[str, Any]) -> None:
    model = attention(**form)
    before = [(node.name, node.op_type) for node in model.graph]
    assert not FuseAttentionPass()(model).modified
    assert [(node.name, node.op_type) for node in model.graph] == before
    assert model.graph.opset_imports[""] == attention().graph.opset_imports[""]


def test_a_graph_for_readers_of_an_old_opset_stays() -> None:
    model = attention()
    model.graph.opset_imports[""] = 18
    assert not FuseAttentionPass()(model).modified


def test_layers_share_a_mask() -> None:
    """The sum of what is added to their scores is there once."""
    graph = SmallGraph()
    to_split = graph.constant("to_split", np.array([0, 0, HEADS, HEAD_DIM]))
    to_join = graph.constant("to_join", np.array([0, 0, WIDTH]))
    mask, positions = graph.input("mask", MASK), graph.input("positions", POSITIONS)
    states = graph.input("states", JOINED)
    by_head: list[int | str] = ["batch", HEADS, "length", HEAD_DIM]
    for layer in "ab":
        split = graph.node("Reshape", states, to_split, name=f"{layer}_split", shape=SPLIT)
        heads = graph.node("Transpose", split, name=f"{layer}_heads", shape=by_head, perm=[0, 2, 1, 3])
        turned: list[int | str] = ["batch", HEADS, HEAD_DIM, "length"]
        keys = graph.node("Transpose", split, name=f"{layer}_keys", shape=turned, perm=[0, 2, 3, 1])
        scores = graph.node("MatMul", heads, keys, name=f"{layer}_scores", shape=SCORES)
        for bias in (positions, mask):
            scores = graph.node("Add", scores, bias, name=f"{layer}_{bias.name}", shape=SCORES)
        weights = graph.node("Softmax", scores, name=f"{layer}_softmax", shape=SCORES, axis=-1)
        context = graph.node("MatMul", weights, heads, name=f"{layer}_context", shape=by_head)
        back = graph.node("Transpose", context, name=f"{layer}_back", shape=SPLIT, perm=[0, 2, 1, 3])
        states = graph.node("Reshape", back, to_join, name=f"{layer}_joined", shape=JOINED)
    model = graph.finish(states)
    FuseAttentionPass()(model)
    assert sorted(node.op_type for node in model.graph) == ["Add", "Attention", "Attention", "Max"]
