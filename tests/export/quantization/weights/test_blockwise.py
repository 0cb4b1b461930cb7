from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle
from edgepipe.errors import InputError
from edgepipe_export.quantization.quantize import default_options, find_layers, load_recipe, quantize
from edgepipe_export.quantization.target import Target
from edgepipe_export.quantization.weights.blockwise import (
    BlockFormat,
    QuantizedWeight,
    quantize_weights,
    round_to_nearest,
)
from edgepipe_export.tracing.serialization import save_graph

TARGET = Target("vnni")
ROWS, WIDTH = 60, 72  # neither is a multiple of a block


def decoded(coded: QuantizedWeight) -> NDArray[np.float32]:
    """What the codes stand for, by the definition of MatMulNBits: float32[outputs, inputs]."""
    outputs, count = coded.scales.shape
    bits = coded.block_format.bits

    def numbers(packed: NDArray[np.uint8], length: int) -> NDArray[np.float32]:
        if bits == 4:
            packed = np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:-1], -1)
        return packed[..., :length].astype(np.float32)

    codes = numbers(coded.codes, coded.block_format.block_size)
    zero = 2.0 ** (bits - 1) if coded.zero_points is None else numbers(coded.zero_points, count)[..., None]
    return ((codes - zero) * coded.scales[..., None]).reshape(outputs, -1)[:, : coded.inputs]


def tied(width: int = WIDTH) -> tuple[onnx_ir.Model, NDArray[np.float32]]:
    """Embedding and head of a language model, tied: ids -> rows -> scores of all rows."""
    weight = np.random.default_rng(0).normal(size=(ROWS, width)).astype(np.float32)
    table = onnx_ir.Value(name="wte.weight", const_value=onnx_ir.tensor(weight), shape=onnx_ir.Shape(weight.shape))
    table.type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
    ids = onnx_ir.val("ids", onnx_ir.DataType.INT64, ["batch", "length"])
    rows = onnx_ir.node("Gather", [table, ids], name="look")
    turned = onnx_ir.node("Transpose", [table], attributes={"perm": [1, 0]}, name="turn")
    product = onnx_ir.node("MatMul", [rows.outputs[0], turned.outputs[0]], name="head")
    for node, name in ((rows, "rows"), (turned, "turned"), (product, "scores")):
        node.outputs[0].name = name
        node.outputs[0].type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
    rows.outputs[0].shape = onnx_ir.Shape(["batch", "length", width])
    product.outputs[0].shape = onnx_ir.Shape(["batch", "length", ROWS])
    graph = onnx_ir.Graph(
        [ids],
        [rows.outputs[0], product.outputs[0]],
        nodes=[rows, turned, product],
        initializers=[table],
        opset_imports={"": 20},
        name="tied",
    )
    return onnx_ir.Model(graph, ir_version=10), weight


def run(graph: Path, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    outputs: list[NDArray[Any]] = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(
        None, feeds
    )
    return outputs


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("block_size", [16, 32, 128])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_tied_head_and_its_embedding_use_the_same_bytes(
    tmp_path: Path, bits: int, block_size: int, symmetric: bool
) -> None:
    model, weight = tied()
    blocks = BlockFormat(bits, block_size, symmetric)
    quantize_weights(model, {"wte.weight": blocks}, accuracy_level=1)
    save_graph(model, tmp_path / "model.onnx")
    stored = model.graph.initializers[f"wte.weight_q{bits}"]
    assert sorted(node.op_type for node in stored.consumers()) == ["Gather", "MatMulNBits"]
    assert "wte.weight" not in model.graph.initializers
    ids = np.arange(ROWS).reshape(4, -1)
    expected = decoded(round_to_nearest("wte.weight", weight.T, blocks))
    rows, scores = run(tmp_path / "model.onnx", {"ids": ids})
    np.testing.assert_array_equal(rows, expected[ids])
    np.testing.assert_allclose(scores, expected[ids] @ expected.T, rtol=1e-4, atol=1e-4)
    step = np.abs(weight).max() / (2 ** (bits - 1) - 1)
    assert np.abs(expected - weight).max() <= step


@pytest.mark.parametrize("dtype", ["w8", "q4"])
def test_every_weight_is_in_blocks(exported: Bundle, tmp_path: Path, dtype: str) -> None:
    path = tmp_path / f"model_{dtype}.onnx"
    recipe = quantize(dtype, exported.graph("fp32"), path, TARGET)
    assert recipe["name"] == dtype
    graph = onnx_ir.load(path).graph
    assert sum(node.op_type == "MatMulNBits" for node in graph) == 14  # 2 layers of 6, pooler, classifier
    for name, value in graph.initializers.items():
        assert value.const_value is not None
        if value.const_value.dtype == onnx_ir.DataType.FLOAT:
            assert len(value.const_value.shape) < 2 or name.endswith("_scales"), name
    original = onnx_ir.load(exported.graph("fp32")).graph
    described = [
        [(value.name, value.dtype, value.shape) for value in (*each.inputs, *each.outputs)]
        for each in (original, graph)
    ]
    assert described[0] == described[1]


@pytest.mark.parametrize("dtype", ["int8", "w8", "q4"])
def test_all_layers_in_fp32_give_what_fp32_gives(exported: Bundle, tmp_path: Path, dtype: str) -> None:
    source = exported.graph("fp32")
    layers = find_layers(source)
    path = tmp_path / "model.onnx"
    recipe = quantize(dtype, source, path, TARGET, precisions={layer.name: "fp32" for layer in layers})
    assert list(recipe["precisions"]) == [layer.name for layer in layers]
    ids = np.array([[2, 5, 7, 3]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    np.testing.assert_allclose(run(path, feeds)[0], run(source, feeds)[0], atol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "q4"])
def test_single_layers_can_have_8_bit_blocks(exported: Bundle, tmp_path: Path, dtype: str) -> None:
    source = exported.graph("fp32")
    chosen = [layer for layer in find_layers(source) if layer.products][:2]
    path = tmp_path / "model.onnx"
    quantize(dtype, source, path, TARGET, precisions={layer.name: "w8" for layer in chosen})
    in_blocks = {node.name for node in onnx_ir.load(path).graph if node.op_type == "MatMulNBits" and _bits(node) == 8}
    assert in_blocks == {name for layer in chosen for name in layer.products}


def _bits(node: onnx_ir.Node) -> int:
    return node.attributes["bits"].as_int()


def test_a_precision_that_a_recipe_does_not_mix(exported: Bundle, tmp_path: Path) -> None:
    source = exported.graph("fp32")
    name = find_layers(source)[0].name
    with pytest.raises(InputError, match=r"w8.*'w8'.*fp32"):
        quantize("w8", source, tmp_path / "model.onnx", TARGET, precisions={name: "w8"})
    assert "w8" not in load_recipe("w8").mixes


def test_a_layer_that_is_not_there(exported: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no layer 'lm_head'.*word_embeddings"):
        quantize("q4", exported.graph("fp32"), tmp_path / "model.onnx", TARGET, precisions={"lm_head": "fp32"})


@pytest.mark.parametrize("dtype", ["int8", "w8", "q4"])
def test_options_are_in_the_recipe(exported: Bundle, tmp_path: Path, dtype: str) -> None:
    recipe = quantize(dtype, exported.graph("fp32"), tmp_path / "model.onnx", TARGET)
    assert set(default_options(dtype).__slots__) <= set(recipe)
    assert None not in recipe.values()
