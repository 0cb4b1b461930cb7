"""Graphs of a few nodes, as onnx-ir has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir
from numpy.typing import NDArray

FLOAT, INT64 = onnx_ir.DataType.FLOAT, onnx_ir.DataType.INT64

ROWS, WIDTH, INNER, LABELS = 60, 32, 48, 24


class SmallGraph:
    """A graph that is put together node by node; every value has its type and shape."""

    def __init__(self) -> None:
        self.inputs: list[onnx_ir.Value] = []
        self._initializers: list[onnx_ir.Value] = []
        self._nodes: list[onnx_ir.Node] = []

    def input(self, name: str, shape: list[int | str], kind: onnx_ir.DataType = FLOAT) -> onnx_ir.Value:
        """An input of the graph."""
        self.inputs.append(onnx_ir.val(name, kind, shape))
        return self.inputs[-1]

    def constant(self, name: str, array: NDArray[Any]) -> onnx_ir.Value:
        """An initializer."""
        tensor = onnx_ir.tensor(array)
        value = onnx_ir.Value(
            name=name,
            const_value=tensor,
            shape=onnx_ir.Shape(array.shape),
            type=onnx_ir.TensorType(tensor.dtype),
        )
        self._initializers.append(value)
        return value

    def node(
        self,
        operator: str,
        *inputs: onnx_ir.Value,
        name: str,
        shape: list[int | str],
        kind: onnx_ir.DataType = FLOAT,
        **attributes: Any,
    ) -> onnx_ir.Value:
        """A node of one output, which is called ``<name>_out``."""
        node = onnx_ir.node(operator, inputs, attributes=attributes, name=name)
        value = node.outputs[0]
        value.name, value.type, value.shape = f"{name}_out", onnx_ir.TensorType(kind), onnx_ir.Shape(shape)
        self._nodes.append(node)
        return value

    def finish(self, *outputs: onnx_ir.Value) -> onnx_ir.Model:
        """The model."""
        graph = onnx_ir.Graph(
            self.inputs,
            list(outputs),
            nodes=self._nodes,
            initializers=self._initializers,
            opset_imports={"": 20},
            name="small",
        )
        return onnx_ir.Model(graph, ir_version=10)


def weights() -> dict[str, NDArray[np.float32]]:
    """The weights of :func:`layered`, under names as a traced model has them."""
    numbers = np.random.default_rng(0)
    shapes = {
        "model.embeddings.weight": (ROWS, WIDTH),
        "val_3": (WIDTH, INNER),  # transposed when it was traced
        "model.dense.bias": (INNER,),
        "classifier.weight": (LABELS, INNER),
        "classifier.bias": (LABELS,),
    }
    return {name: numbers.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def layered(*, cache: bool = False) -> onnx_ir.Model:
    """Token ids, a table, a product with a bias, and a Gemm; with `cache` an input and an output of a decoder."""
    graph = SmallGraph()
    ids = graph.input("ids", ["batch", "length"], INT64)
    table, weight, bias, head, last = (graph.constant(name, array) for name, array in weights().items())
    rows = graph.node("Gather", table, ids, name="look", shape=["batch", "length", WIDTH], axis=0)
    product = graph.node("MatMul", rows, weight, name="product", shape=["batch", "length", INNER])
    added = graph.node("Add", product, bias, name="plus", shape=["batch", "length", INNER])
    pooled = graph.node(
        "ReduceMax", added, graph.constant("axis", np.array([1])), name="pool", shape=["batch", INNER], keepdims=0
    )
    active = graph.node("Relu", pooled, name="activation", shape=["batch", INNER])
    logits = graph.node("Gemm", active, head, last, name="classify", shape=["batch", LABELS], transB=1)
    logits.name = "logits"
    if not cache:
        return graph.finish(logits)
    past = graph.input("past_key_values.0.key", ["batch", 1, "past", 4])
    present = graph.node("Identity", past, name="keep", shape=["batch", 1, "past", 4])
    present.name = "present.0.key"
    return graph.finish(logits, present)


def layered_logits(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """What :func:`layered` gives, by numpy."""
    table, weight, bias, head, last = weights().values()
    pooled = (table[ids] @ weight + bias).max(axis=1)
    logits: NDArray[np.float32] = np.maximum(pooled, 0) @ head.T + last
    return logits
