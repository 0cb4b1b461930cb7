from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir
import pytest
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgepipe.backend.engines import create_session
from edgepipe.errors import ExportError
from edgepipe_export.quantization.methods.quantize_rows import QuantizeRowsPass
from edgepipe_export.quantization.target import find_target
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.small_graphs import SmallGraph

WIDTH, OUTPUTS = 48, 24


def weights() -> list[NDArray[np.float32]]:
    numbers = np.random.default_rng(0)
    return [numbers.normal(size=(WIDTH, OUTPUTS)).astype(np.float32) for _ in range(2)]


@pytest.fixture
def quantized(tmp_path: Path) -> onnx_ir.Model:
    """Two products of one input, one of them with a bias, as onnxruntime quantizes them."""
    graph = SmallGraph()
    states = graph.input("states", ["batch", "length", WIDTH])
    first, second = (graph.constant(f"weight_{place}", array) for place, array in enumerate(weights()))
    one = graph.node("MatMul", states, first, name="one", shape=["batch", "length", OUTPUTS])
    other = graph.node("MatMul", states, second, name="other", shape=["batch", "length", OUTPUTS])
    bias = graph.constant("bias", np.ones(OUTPUTS, np.float32))
    biased = graph.node("Add", other, bias, name="biased", shape=["batch", "length", OUTPUTS])
    save_graph(graph.finish(one, biased), tmp_path / "model.onnx")
    quantize_dynamic(
        tmp_path / "model.onnx",
        tmp_path / "quantized.onnx",
        per_channel=True,
        weight_type=QuantType.QInt8,
        reduce_range=find_target().reduce_range,  # the graph runs here
        extra_options={"MatMulConstBOnly": True},
    )
    return onnx_ir.load(tmp_path / "quantized.onnx")


def states(rows: int) -> NDArray[np.float32]:
    """Rows of very different magnitude, the last of them zeros."""
    numbers = np.random.default_rng(1).normal(size=(rows, 5, WIDTH)).astype(np.float32)
    numbers *= np.geomspace(1e-3, 1e3, rows, dtype=np.float32)[:, None, None]
    numbers[-1, -1] = 0
    return numbers


def test_a_row_has_its_own_scale(quantized: onnx_ir.Model, tmp_path: Path) -> None:
    save_graph(quantized, tmp_path / "whole.onnx")
    assert QuantizeRowsPass()(quantized).modified
    assert not QuantizeRowsPass()(quantized).modified
    save_graph(quantized, tmp_path / "rows.onnx")
    whole, rows = (create_session(tmp_path / f"{name}.onnx") for name in ("whole", "rows"))
    given = states(6)
    exact = [given @ weights()[0], given @ weights()[1] + 1]
    found, coarse = rows.run({"states": given}), whole.run({"states": given})
    assert list(found) == list(coarse) == list(rows.outputs)
    for name, expected in zip(found, exact, strict=True):
        peaks = np.abs(given).max(-1, keepdims=True) * np.abs(weights()[0]).max() * WIDTH
        assert (np.abs(found[name] - expected) <= peaks / 127 + 1e-6).all()
        # Beside larger ones the first is lost where all share a scale.
        assert np.abs(coarse[name] - expected)[0].max() > 10 * np.abs(found[name] - expected)[0].max()
        alone = np.concatenate([rows.run({"states": given[place : place + 1]})[name] for place in range(len(given))])
        np.testing.assert_array_equal(alone, found[name])


def test_products_of_another_form_are_refused(quantized: onnx_ir.Model) -> None:
    cast = next(node for node in quantized.graph if node.op_type == "Cast")
    (scaled,) = (usage.node for usage in cast.outputs[0].uses())
    scaled.op_type = "Div"
    with pytest.raises(ExportError, match="cannot have scales of their own; try int8 or w8"):
        QuantizeRowsPass()(quantized)


def test_a_graph_without_any_stays() -> None:
    graph = SmallGraph()
    given = graph.input("states", ["batch", WIDTH])
    assert not QuantizeRowsPass()(graph.finish(graph.node("Neg", given, name="neg", shape=["batch", WIDTH]))).modified
