from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle
from edgepipe.errors import ExportError
from edgepipe_export.quantization.quantize import find_layers, quantize
from edgepipe_export.quantization.target import Target
from edgepipe_export.tracing.serialization import save_graph

TARGET = Target("vnni")
HALF = onnx_ir.DataType.FLOAT16


def feeds(rows: int = 4, length: int = 12) -> dict[str, NDArray[Any]]:
    ids = np.random.default_rng(0).integers(5, 60, (rows, length))
    mask = np.ones_like(ids)
    mask[0, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def run(graph: Path, inputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[Any]] = session.run(None, inputs)
    return outputs[0]


def constant_types(graph: Path) -> dict[str, onnx_ir.DataType]:
    initializers = onnx_ir.load(graph).graph.initializers
    return {name: value.const_value.dtype for name, value in initializers.items() if value.const_value is not None}


@pytest.mark.parametrize("batches", [(), (feeds(),)])
def test_it_computes_in_half_precision(exported: Bundle, tmp_path: Path, batches: tuple[Any, ...]) -> None:
    source, path = exported.graph("fp32"), tmp_path / "model_fp16.onnx"
    recipe = quantize("fp16", source, path, TARGET, batches=batches)
    assert recipe["kept"] == []
    assert onnx_ir.DataType.FLOAT not in constant_types(path).values()
    output = run(path, feeds())
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, run(source, feeds()), atol=5e-3)
    assert sorted(item.name for item in tmp_path.iterdir()) == [path.name, f"{path.name}_data"]
    assert path.with_name(f"{path.name}_data").stat().st_size < 0.7 * Path(f"{source}_data").stat().st_size


def test_inputs_and_outputs_are_those_of_fp32(exported: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "model_fp16.onnx"
    quantize("fp16", exported.graph("fp32"), path, TARGET)
    graphs = [onnx_ir.load(graph).graph for graph in (exported.graph("fp32"), path)]
    described = [[(value.name, value.dtype) for value in (*graph.inputs, *graph.outputs)] for graph in graphs]
    assert described[0] == described[1]


def test_layers_can_stay_fp32(exported: Bundle, tmp_path: Path) -> None:
    source, path = exported.graph("fp32"), tmp_path / "model_fp16.onnx"
    layer = next(layer for layer in find_layers(source) if layer.label == "classifier")
    recipe = quantize("fp16", source, path, TARGET, precisions={layer.name: "fp32"})
    assert recipe["kept"] == list(layer.products)
    assert [name for name, kind in constant_types(path).items() if kind == onnx_ir.DataType.FLOAT][:1] == [layer.name]


def growing(factor: float) -> onnx_ir.Model:
    """states [batch, 8] -> the root of the mean of squares of states times a factor, and the states divided by it."""
    width = 8
    nodes: list[onnx_ir.Node] = []
    initializers = []

    def constant(name: str, array: NDArray[Any]) -> onnx_ir.Value:
        tensor = onnx_ir.tensor(array)
        kind = onnx_ir.TensorType(tensor.dtype)
        initializers.append(onnx_ir.Value(name=name, const_value=tensor, shape=onnx_ir.Shape(array.shape), type=kind))
        return initializers[-1]

    def step(operator: str, *inputs: onnx_ir.Value, last: int = width, **attributes: Any) -> onnx_ir.Value:
        node = onnx_ir.node(operator, inputs, attributes=attributes, name=f"{operator}_{len(nodes)}")
        node.outputs[0].name = f"{node.name}_output"
        node.outputs[0].type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
        node.outputs[0].shape = onnx_ir.Shape(["batch", last])
        nodes.append(node)
        return node.outputs[0]

    states = onnx_ir.val("states", onnx_ir.DataType.FLOAT, ["batch", width])
    large = step("MatMul", states, constant("weight", np.eye(width, dtype=np.float32) * np.float32(factor)))
    squares = step("Mul", large, large)
    mean = step("ReduceMean", squares, constant("axes", np.array([-1], np.int64)), last=1)
    root = step("Sqrt", step("Add", mean, constant("epsilon", np.array(1e-6, np.float32)), last=1), last=1)
    step("Div", large, root)
    graph = onnx_ir.Graph(
        [states], [nodes[-1].outputs[0]], nodes=nodes, initializers=initializers, opset_imports={"": 20}, name="norm"
    )
    return onnx_ir.Model(graph, ir_version=10)


STATES = {"states": np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)}


@pytest.mark.parametrize(("factor", "watched"), [(1e3, False), (1e3, True), (1e5, True)])
def test_what_overflows_stays_fp32(tmp_path: Path, factor: float, watched: bool) -> None:
    source, path = tmp_path / "source.onnx", tmp_path / "half.onnx"
    save_graph(growing(factor), source)
    recipe = quantize("fp16", source, path, TARGET, batches=[STATES] if watched else [])
    assert {"Mul_1", "ReduceMean_2", "Sqrt_4"} <= set(recipe["kept"])
    assert ("MatMul_0" in recipe["kept"]) == (factor > 65504)  # only watching tells
    np.testing.assert_allclose(run(path, STATES), run(source, STATES), atol=2e-3)


def test_numbers_that_are_not_finite_are_found(tmp_path: Path) -> None:
    source = tmp_path / "source.onnx"
    save_graph(growing(1.0), source)
    batches = [STATES, {"states": np.full((1, 8), np.inf, np.float32)}]
    with pytest.raises(ExportError, match=r"Div_5_output is not finite.*batch 1.*fp32"):
        quantize("fp16", source, tmp_path / "half.onnx", TARGET, batches=batches)
