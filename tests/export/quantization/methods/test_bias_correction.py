"""Bias correction: the mean of what a product gives stays what it was when its weight is rounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir
import pytest
from numpy.typing import NDArray

from edgepipe_export.quantization.methods.bias_correction import correct_biases, round_weight
from edgepipe_export.quantization.quantize import quantize
from edgepipe_export.quantization.recipes.int8_static import Int8StaticOptions
from edgepipe_export.quantization.target import Target
from edgepipe_export.quantization.weights.layers import find_uses
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.small_graphs import INNER, SmallGraph, layered, weights

BATCHES = [{"ids": np.array([[3, 7, 7], [1, 0, 2]])}, {"ids": np.array([[59, 4]])}]
PRODUCTS = ("product", "classify")


def arrays(model: onnx_ir.Model) -> dict[str, NDArray[np.float32]]:
    """The initializers, by name."""
    values = model.graph.initializers.items()
    return {name: value.const_value.numpy() for name, value in values if value.const_value is not None}


@pytest.mark.parametrize("reduce_range", [False, True])
def test_the_mean_of_a_product_is_kept(reduce_range: bool, tmp_path: Path) -> None:
    model = layered()
    correct_biases(model, tmp_path, BATCHES, PRODUCTS, per_channel=True, reduce_range=reduce_range)
    before, after = weights(), arrays(model)
    rows = np.concatenate([before["model.embeddings.weight"][batch["ids"]].reshape(-1, 32) for batch in BATCHES])
    rounded = round_weight(before["val_3"], True, reduce_range)
    found = (rows @ rounded + after["model.dense.bias"]).mean(axis=0)
    np.testing.assert_allclose(found, (rows @ before["val_3"] + before["model.dense.bias"]).mean(axis=0), atol=1e-5)
    assert not np.array_equal(after["model.dense.bias"], before["model.dense.bias"])
    assert not np.array_equal(after["classifier.bias"], before["classifier.bias"])
    np.testing.assert_array_equal(after["val_3"], before["val_3"])
    assert list(tmp_path.iterdir()) == []


def test_padding_does_not_count(tmp_path: Path) -> None:
    graph = SmallGraph()
    states, mask = graph.input("states", ["batch", "length", 4]), graph.input("attention_mask", ["batch", "length"])
    weight = graph.constant("weight", np.random.default_rng(0).normal(size=(4, INNER)).astype(np.float32))
    product = graph.node("MatMul", states, weight, name="product", shape=["batch", "length", INNER])
    bias = graph.constant("bias", np.zeros(INNER, np.float32))
    added = graph.node("Add", product, bias, name="plus", shape=["batch", "length", INNER])
    kept = graph.node("Identity", mask, name="keep", shape=["batch", "length"])
    model = graph.finish(added, kept)
    rows = np.array([[[1, 2, 3, 4], [1e3, 1e3, 1e3, 1e3]]], np.float32)
    batches = [{"states": rows, "attention_mask": np.array([[1, 0]], np.float32)}]
    correct_biases(model, tmp_path, batches, ("product",), per_channel=True, reduce_range=False)
    before = arrays(model)["weight"]
    expected = rows[0, 0] @ (before - round_weight(before, True, False))
    np.testing.assert_allclose(arrays(model)["bias"], expected, atol=1e-6)


@pytest.mark.parametrize("products", [(), ("classify",)])
def test_other_products_stay_as_they_are(products: tuple[str, ...], tmp_path: Path) -> None:
    model = layered()
    correct_biases(model, tmp_path, BATCHES, products, per_channel=True, reduce_range=False)
    changed = {name for name, array in arrays(model).items() if name in weights() and np.any(array != weights()[name])}
    assert changed == ({"classifier.bias"} if products else set())


def test_a_bias_that_something_else_reads_is_left_alone(tmp_path: Path) -> None:
    model = layered()
    second = onnx_ir.node("Add", [model.graph.outputs[0], model.graph.initializers["classifier.bias"]], name="again")
    second.outputs[0].name, second.outputs[0].type = "twice", model.graph.outputs[0].type
    model.graph.append(second)
    model.graph.outputs.append(second.outputs[0])
    correct_biases(model, tmp_path, BATCHES, PRODUCTS, per_channel=True, reduce_range=False)
    np.testing.assert_array_equal(arrays(model)["classifier.bias"], weights()["classifier.bias"])


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("reduce_range", [True, False])
def test_weights_are_rounded_as_onnxruntime_rounds_them(per_channel: bool, reduce_range: bool, tmp_path: Path) -> None:
    source, path = tmp_path / "source.onnx", tmp_path / "model.onnx"
    save_graph(layered(), source)
    options = Int8StaticOptions(per_channel=per_channel, reduce_range=reduce_range, smoothing=0.0)
    quantize("int8-static", source, path, Target("vnni"), options=options, batches=BATCHES)
    written = arrays(onnx_ir.load(path))
    found: dict[str, NDArray[np.float32]] = {}
    for name, array in written.items():
        if name.endswith("_quantized") and array.ndim == 2:
            scale = written[name.replace("_quantized", "_scale")]
            by_row = scale.ndim == 1 and len(scale) == len(array)
            found[name.removesuffix("_quantized")] = array * (scale[:, None] if by_row else scale)
    model = onnx_ir.load(source)
    expected = {
        use.weight.name: round_weight(use.array(), per_channel, reduce_range)
        for use in find_uses(model.graph)
        if not use.is_table
    }
    scaled = {name: array for name, array in found.items() if name in expected}
    assert "val_3" in scaled
    for name, array in scaled.items():
        wanted = expected[name]
        np.testing.assert_allclose(array if array.shape == wanted.shape else array.T, wanted, atol=1e-6)
