from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle
from edgepipe_export import export
from edgepipe_export.quantization.methods.activations import channel_maxima
from edgepipe_export.quantization.methods.smoothquant import SmoothActivationsPass
from edgepipe_export.quantization.quantize import quantize
from edgepipe_export.quantization.target import Target
from edgepipe_export.quantization.weights.layers import find_layers
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.small_graphs import SmallGraph
from tests.hostile import inject_outliers
from tests.tiny import build

WIDTH, OUTPUTS, OUTLIER = 32, 24, 5


def feeds(rows: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    ids = np.random.default_rng(seed).integers(5, 60, (rows, 12))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def run(graph: Path, inputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[np.float32]] = session.run(None, inputs)
    return outputs[0]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    model, tokenizer = build("bert", labels=("bad", "fair", "good"))
    inject_outliers(model, (3, 8), 300.0)
    return export(model, tmp_path_factory.mktemp("hostile") / "bundle", tokenizer=tokenizer, verify=False)


def normalized_product(*, also_read: bool) -> onnx_ir.Model:
    """A layer norm, a product after it, and on request something else that reads the norm."""
    numbers = np.random.default_rng(0)

    def value(name: str, array: NDArray[Any]) -> onnx_ir.Value:
        return onnx_ir.Value(
            name=name,
            const_value=onnx_ir.tensor(array.astype(np.float32)),
            shape=onnx_ir.Shape(array.shape),
            type=onnx_ir.TensorType(onnx_ir.DataType.FLOAT),
        )

    gain = np.ones(WIDTH)
    gain[OUTLIER] = 50
    initializers = [
        value("gain", gain),
        value("bias", numbers.normal(size=WIDTH)),
        value("weight", numbers.normal(size=(WIDTH, OUTPUTS))),
    ]
    states = onnx_ir.val("states", onnx_ir.DataType.FLOAT, ["batch", WIDTH])
    norm = onnx_ir.node("LayerNormalization", [states, *initializers[:2]], name="norm")
    product = onnx_ir.node("MatMul", [norm.outputs[0], initializers[2]], name="product")
    nodes = [norm, product]
    if also_read:
        nodes.append(onnx_ir.node("Neg", [norm.outputs[0]], name="residual"))
    for node in nodes:
        node.outputs[0].name = f"{node.name}_output"
        node.outputs[0].type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
        node.outputs[0].shape = onnx_ir.Shape(["batch", OUTPUTS if node is product else WIDTH])
    outputs = [node.outputs[0] for node in nodes[1:]]
    graph = onnx_ir.Graph(
        [states], outputs, nodes=nodes, initializers=initializers, opset_imports={"": 20}, name="normalized"
    )
    return onnx_ir.Model(graph, ir_version=10)


@pytest.mark.parametrize("also_read", [False, True])
def test_outliers_go_into_the_weights_and_results_stay(tmp_path: Path, also_read: bool) -> None:
    batches = [{"states": np.random.default_rng(1).normal(size=(8, WIDTH)).astype(np.float32)}]
    model = normalized_product(also_read=also_read)
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    save_graph(model, before)
    peaks = channel_maxima(before, batches)
    assert list(peaks) == ["norm_output"]
    assert int(peaks["norm_output"].argmax()) == OUTLIER
    SmoothActivationsPass(peaks, 0.75, {"weight"})(model)
    save_graph(model, after)
    operators = [node.op_type for node in model.graph]
    assert ("Mul" in operators) == also_read  # a norm that nothing else reads takes the factors itself
    np.testing.assert_allclose(run(after, batches[0]), run(before, batches[0]), rtol=1e-4, atol=1e-4)
    (smoothed,) = channel_maxima(after, batches).values()
    ratio = [peak.max() / np.median(peak) for peak in (peaks["norm_output"], smoothed)]
    assert ratio[1] < ratio[0] / 3


def attending() -> onnx_ir.Model:
    """Queries, keys and values of one input, attention, and a product of what it gives."""
    numbers, graph = np.random.default_rng(0), SmallGraph()
    states = graph.input("states", ["batch", "length", WIDTH])
    made = []
    for name in ("query", "key", "value"):
        weight = graph.constant(f"{name}.weight", numbers.normal(size=(WIDTH, WIDTH)).astype(np.float32))
        bias = numbers.normal(size=WIDTH).astype(np.float32)
        if name == "value":
            bias[OUTLIER] = 200
        product = graph.node("MatMul", states, weight, name=name, shape=["batch", "length", WIDTH])
        vector = graph.constant(f"{name}.bias", bias)
        made.append(graph.node("Add", product, vector, name=f"{name}_biased", shape=["batch", "length", WIDTH]))
    heads = {"q_num_heads": 4, "kv_num_heads": 4, "scale": WIDTH**-0.5}
    context = graph.node("Attention", *made, name="attention", shape=["batch", "length", WIDTH], **heads)
    weight = graph.constant("output.weight", numbers.normal(size=(WIDTH, OUTPUTS)).astype(np.float32))
    model = graph.finish(graph.node("MatMul", context, weight, name="output", shape=["batch", "length", OUTPUTS]))
    model.graph.opset_imports[""] = 23
    return model


def test_what_attention_averages_takes_its_factors_into_the_values(tmp_path: Path) -> None:
    model = attending()
    batches = [{"states": np.random.default_rng(1).normal(size=(2, 9, WIDTH)).astype(np.float32)}]
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    save_graph(model, before)
    peaks = channel_maxima(before, batches)
    assert int(peaks["attention_out"].argmax()) == OUTLIER
    operators = [node.op_type for node in model.graph]
    SmoothActivationsPass(peaks, 0.75, {"output.weight"})(model)
    assert [node.op_type for node in model.graph] == operators
    save_graph(model, after)
    np.testing.assert_allclose(run(after, batches[0]), run(before, batches[0]), rtol=1e-4, atol=1e-3)
    smoothed = channel_maxima(after, batches)["attention_out"]
    assert smoothed.max() / np.median(smoothed) < peaks["attention_out"].max() / np.median(peaks["attention_out"]) / 3


@pytest.mark.parametrize("dtype", ["int8", "w8"])
def test_a_model_with_outliers_needs_it(hostile: Bundle, tmp_path: Path, dtype: str) -> None:
    source = hostile.graph("fp32")
    inputs = feeds(16)
    expected = run(source, inputs)
    differences = []
    for batches in ((), (feeds(4, seed=3), feeds(4, seed=4))):
        path = tmp_path / f"{len(batches)}.onnx"
        recipe = quantize(dtype, source, path, Target("vnni"), batches=batches)
        assert (recipe["smoothing"] > 0) == bool(batches)
        differences.append(float(np.abs(run(path, inputs) - expected).max()))
    assert differences[1] < differences[0] / 2


def test_layers_that_stay_fp32_are_not_touched(hostile: Bundle, tmp_path: Path) -> None:
    source, path = hostile.graph("fp32"), tmp_path / "model.onnx"
    precisions = {layer.name: "fp32" for layer in find_layers(onnx_ir.load(source))}
    quantize("int8", source, path, Target("vnni"), precisions=precisions, batches=[feeds(4)])
    np.testing.assert_allclose(run(path, feeds(4)), run(source, feeds(4)), atol=1e-3)
    assert not any("smoothing" in name for name in onnx_ir.load(path).graph.initializers)
