"""What calibration batches show of a graph's values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle
from edgepipe_export.quantization.methods.activations import channel_maxima, input_hessians, value_maxima
from edgepipe_export.quantization.weights.layers import find_layers, find_uses
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.methods.test_gptq import batches
from tests.export.quantization.methods.test_smoothquant import feeds
from tests.export.quantization.small_graphs import SmallGraph, layered, weights

BATCHES = [{"ids": np.array([[3, 7, 7], [1, 0, 2]])}, {"ids": np.array([[59, 4]])}]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    save_graph(layered(), path)
    return path


def active(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """What the last product reads."""
    made = weights()
    pooled = (made["model.embeddings.weight"][ids] @ made["val_3"] + made["model.dense.bias"]).max(axis=1)
    return np.maximum(pooled, 0).astype(np.float32)


def test_the_largest_of_each_channel_that_a_product_reads(source: Path) -> None:
    found = channel_maxima(source, BATCHES)
    assert list(found) == ["look_out", "activation_out"], "ids of a table are none"
    rows = np.concatenate([weights()["model.embeddings.weight"][batch["ids"]].reshape(-1, 32) for batch in BATCHES])
    np.testing.assert_allclose(found["look_out"], np.abs(rows).max(axis=0))
    last = np.concatenate([active(batch["ids"]) for batch in BATCHES])
    np.testing.assert_allclose(found["activation_out"], last.max(axis=0), rtol=1e-5)
    assert {path.name for path in source.parent.iterdir()} == {"model.onnx", "model.onnx_data"}


def test_the_largest_of_every_value(source: Path) -> None:
    found = value_maxima(source, BATCHES)
    assert list(found) == ["look_out", "product_out", "plus_out", "pool_out", "activation_out", "logits"]
    assert found["activation_out"] == pytest.approx(
        max(float(active(batch["ids"]).max()) for batch in BATCHES), rel=1e-5
    )


@pytest.mark.parametrize("lowest", [np.finfo(np.float32).min, -np.inf])
def test_what_a_mask_adds_is_no_value(lowest: float, tmp_path: Path) -> None:
    graph = SmallGraph()
    scores, mask = graph.input("scores", ["rows", 3]), graph.input("mask", ["rows", 3])
    masked = graph.node("Add", scores, mask, name="masked", shape=["rows", 3])
    save_graph(graph.finish(graph.node("Softmax", masked, name="weights", shape=["rows", 3])), tmp_path / "model.onnx")
    batch = {"scores": np.array([[1, -5, 2]], np.float32), "mask": np.array([[0, 0, lowest]], np.float32)}
    assert value_maxima(tmp_path / "model.onnx", [batch])["masked_out"] == 5
    batch["mask"][:] = lowest
    assert value_maxima(tmp_path / "model.onnx", [batch])["masked_out"] == 0


def test_without_batches_nothing_is_known(source: Path) -> None:
    assert channel_maxima(source, []) == {}
    assert set(value_maxima(source, []).values()) == {0.0}


def test_products_of_every_two_channels_are_summed(tmp_path: Path) -> None:
    model = layered()
    found = input_hessians(model, tmp_path, BATCHES, ["activation_out"])
    rows = np.concatenate([active(batch["ids"]) for batch in BATCHES])
    assert list(found) == ["activation_out"]
    np.testing.assert_allclose(found["activation_out"], rows.T @ rows, rtol=1e-4, atol=1e-4)
    assert [value.name for value in model.graph.outputs] == ["logits"], "the graph is as it was"
    assert list(tmp_path.iterdir()) == []


def test_moments_leave_padding_out(exported: Bundle, tmp_path: Path) -> None:
    source, (batch,) = exported.graph("fp32"), batches(1, 0)
    model = onnx_ir.load(source)
    outputs = list(model.graph.outputs)
    value = next(use.activations for use in find_uses(model.graph) if not use.is_table)
    assert value.name is not None
    moments = input_hessians(model, tmp_path, [batch], [value.name])[value.name]
    assert model.graph.outputs == outputs
    model.graph.outputs[:] = [value]
    save_graph(model, tmp_path / "watched.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "watched.onnx")
    (rows,) = session.run(None, {each.name: batch[each.name] for each in session.get_inputs()})
    shown = rows[batch["attention_mask"] > 0]
    assert len(shown) == 62
    np.testing.assert_allclose(moments, shown.T @ shown, rtol=1e-4, atol=1e-4)


def test_peaks_are_those_of_all_batches(exported: Bundle) -> None:
    one, other = feeds(2, seed=1), feeds(2, seed=2)
    graph = exported.graph("fp32")
    together = channel_maxima(graph, [one, other])
    each = [channel_maxima(graph, [batch]) for batch in (one, other)]
    products = {name for layer in find_layers(onnx_ir.load(graph)) for name in layer.products}
    assert 0 < len(together) < len(products)  # query, key and value share theirs
    for name, peak in together.items():
        np.testing.assert_array_equal(peak, np.maximum(each[0][name], each[1][name]))
