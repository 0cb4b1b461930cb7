"""Which weights of a graph can be quantized, and what they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import pytest

from edgepipe import Bundle
from edgepipe_export.quantization.quantize import find_layers
from edgepipe_export.quantization.weights import layers
from edgepipe_export.quantization.weights.layers import Layer, added_bias, find_stacked_products, find_uses, has_cache
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization import small_graphs
from tests.export.quantization.small_graphs import FLOAT, INNER, INT64, LABELS, SmallGraph, layered, weights
from tests.export.quantization.weights.test_blockwise import ROWS, WIDTH, tied


def test_tables_products_and_gemms() -> None:
    assert layers.find_layers(layered()) == [
        Layer("model.embeddings.weight", "embeddings", (), ("look",), small_graphs.ROWS * small_graphs.WIDTH),
        Layer("val_3", "dense", ("product",), (), small_graphs.WIDTH * INNER),
        Layer("classifier.weight", "classifier", ("classify",), (), LABELS * INNER),
    ]


def test_weights_as_inputs_by_outputs() -> None:
    table, product, gemm = find_uses(layered().graph)
    made = weights()
    assert [use.is_table for use in (table, product, gemm)] == [True, False, False]
    np.testing.assert_array_equal(table.array(), made["model.embeddings.weight"].T)
    np.testing.assert_array_equal(product.array(), made["val_3"])
    np.testing.assert_array_equal(gemm.array(), made["classifier.weight"].T)
    assert [use.activations.name for use in (product, gemm)] == ["look_out", "activation_out"]


MATRIX = np.ones((8, 8), np.float32)


def single(operator: str, *, weight: Any = MATRIX, swap: bool = False, **attributes: Any) -> onnx_ir.Graph:
    """A node of states (or ids) and a constant."""
    graph = SmallGraph()
    is_table = operator == "Gather"
    given = graph.input("given", [8, 8], INT64 if is_table else FLOAT)
    constant = graph.constant("weight", weight)
    inputs = [constant, given] if is_table or swap else [given, constant]
    return graph.finish(graph.node(operator, *inputs, name="node", shape=[8, 8], **attributes)).graph


@pytest.mark.parametrize(
    ("operator", "attributes", "found"),
    [
        ("MatMul", {}, True),
        ("MatMul", {"swap": True}, False),  # the constant is on the left
        ("MatMul", {"weight": np.ones(8, np.float32)}, False),
        ("MatMul", {"weight": np.ones((2, 8, 8), np.float32)}, False),
        ("MatMul", {"weight": np.ones((8, 8), np.float16)}, False),
        ("Gemm", {}, True),
        ("Gemm", {"transB": 1}, True),
        ("Gemm", {"alpha": 1.0, "beta": 1.0}, True),
        ("Gemm", {"alpha": 0.5}, False),
        ("Gemm", {"transA": 1}, False),
        ("Gather", {}, True),
        ("Gather", {"axis": 1}, False),
        ("Add", {}, False),
    ],
    ids=str,
)
def test_what_is_a_layer(operator: str, attributes: dict[str, Any], found: bool) -> None:
    assert len(find_uses(single(operator, **attributes))) == found


def test_a_product_with_a_turned_weight() -> None:
    graph = SmallGraph()
    states, weight = (
        graph.input("states", [8, 4]),
        graph.constant("weight", np.arange(12, dtype=np.float32).reshape(3, 4)),
    )
    turned = graph.node("Transpose", weight, name="turn", shape=[4, 3], perm=[1, 0])
    product = graph.node("MatMul", states, turned, name="product", shape=[8, 3])
    (use,) = find_uses(graph.finish(product).graph)
    assert use.transposed
    assert use.array().tolist() == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]


def test_what_is_fed_is_no_weight() -> None:
    """An input with a default is an initializer too."""
    graph = SmallGraph()
    states, weight = graph.input("states", [8, 8]), graph.constant("weight", MATRIX)
    graph.inputs.append(weight)
    assert find_uses(graph.finish(graph.node("MatMul", states, weight, name="product", shape=[8, 8])).graph) == []


def test_products_with_several_matrices_at_once() -> None:
    graph = SmallGraph()
    states = graph.input("states", [8, 8])
    one, two = (graph.constant(f"{count}", np.stack([MATRIX] * count)) for count in (1, 2))
    single = graph.node("MatMul", states, one, name="single", shape=[1, 8, 8])
    stacked = graph.node("MatMul", single, two, name="stacked", shape=[2, 8, 8])
    last = graph.node("MatMul", stacked, graph.constant("weight", MATRIX), name="last", shape=[2, 8, 8])
    assert find_stacked_products(graph.finish(last).graph) == ["stacked"]


def test_a_layer_without_a_name_is_called_by_its_node() -> None:
    graph = SmallGraph()
    states = graph.input("states", [8, 8])
    product = graph.node("MatMul", states, graph.constant("val_1", MATRIX), name="MatMul_7", shape=[8, 8])
    assert [layer.label for layer in layers.find_layers(graph.finish(product))] == ["MatMul_7"]


@pytest.mark.parametrize(
    ("case", "found"), [("bias", True), ("read twice", False), ("matrix", False), ("output", False), ("minus", False)]
)
def test_a_bias_that_belongs_to_one_product(case: str, found: bool) -> None:
    graph = SmallGraph()
    states = graph.input("states", [8, 8])
    product = graph.node("MatMul", states, graph.constant("weight", MATRIX), name="product", shape=[8, 8])
    bias = graph.constant("layer.bias", MATRIX if case == "matrix" else MATRIX[0])
    added = graph.node("Sub" if case == "minus" else "Add", bias, product, name="plus", shape=[8, 8])
    outputs = [added]
    if case == "read twice":
        outputs.append(graph.node("Neg", product, name="other", shape=[8, 8]))
    if case == "output":
        outputs.append(product)
    model = graph.finish(*outputs)
    result = added_bias(model.graph[0])
    assert (result is not None) is found
    if result is not None:
        assert (result[0].name, result[1].name) == ("plus", "layer.bias")


def test_a_graph_that_is_run_token_by_token() -> None:
    assert has_cache(layered(cache=True).graph)
    assert not has_cache(layered().graph)


def test_layers_have_the_names_of_modules(exported: Bundle) -> None:
    layers = find_layers(exported.graph("fp32"))
    labels = [layer.label for layer in layers]
    assert labels[:4] == [
        "bert.embeddings.word_embeddings",
        "bert.embeddings.token_type_embeddings",
        "bert.embeddings.position_embeddings",
        "bert.encoder.layer.0.attention.self.query",
    ]
    assert labels[-1] == "classifier"
    assert len(set(labels)) == len(labels) == 17


def test_a_tied_weight_is_one_layer(tmp_path: Path) -> None:
    save_graph(tied()[0], tmp_path / "model.onnx")
    (layer,) = find_layers(tmp_path / "model.onnx")
    assert (layer.name, layer.label, layer.products, layer.tables) == ("wte.weight", "wte", ("head",), ("look",))
    assert layer.size == ROWS * WIDTH
