"""What onnxruntime's profiler says of a graph's operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgepipe.backend.engines import engine_for
from edgepipe.backend.onnxruntime.operator_profile import name_operator
from edgepipe.backend.session import GraphTimes, SessionConfig

RUNS = 4
ROWS, INNER, COLUMNS = 6, 8, 5


def write_product(path: Path, operator: str) -> Path:
    """A graph with a product, an addition and another addition."""
    nodes = [
        helper.make_node(operator, ["left", "right"], ["product"]),
        helper.make_node("Add", ["product", "product"], ["twice"]),
        helper.make_node("Add", ["twice", "product"], ["result"]),
    ]
    inputs = [
        helper.make_tensor_value_info("left", TensorProto.FLOAT, ["rows", INNER]),
        helper.make_tensor_value_info("right", TensorProto.FLOAT, [INNER, COLUMNS]),
    ]
    output = helper.make_tensor_value_info("result", TensorProto.FLOAT, ["rows", COLUMNS])
    graph = helper.make_graph(nodes, "product", inputs, [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def profile(graph: Path, device: str) -> GraphTimes:
    feeds = {"left": np.ones((ROWS, INNER), np.float32), "right": np.ones((INNER, COLUMNS), np.float32)}
    config = SessionConfig(device)
    run = engine_for(config).profile
    assert run is not None
    return run(graph, config, feeds, RUNS)


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_operators_are_counted_and_products_have_their_operations(operator: str, tmp_path: Path) -> None:
    times = profile(write_product(tmp_path / "graph.onnx", operator), "cpu")
    found = {each.kind: (each.count, each.operations) for each in times.operators}
    assert found == {operator: (1, 2 * ROWS * INNER * COLUMNS), "Add": (2, 0)}
    assert all(each.seconds >= 0 for each in times.operators)
    assert times.seconds > 0


def test_attention_has_the_operations_of_both_its_products(tmp_path: Path) -> None:
    tokens, heads, width = 7, 2, 8
    node = helper.make_node("Attention", ["left", "left", "left"], ["result"], q_num_heads=heads, kv_num_heads=heads)
    value, output = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", "tokens", width]) for name in ("left", "result")
    )
    graph = helper.make_graph([node], "attention", [value], [output])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), tmp_path / "graph.onnx"
    )
    run = engine_for(SessionConfig("cpu")).profile
    assert run is not None
    feeds = {"left": np.ones((ROWS, tokens, width), np.float32)}
    (times,) = run(tmp_path / "graph.onnx", SessionConfig("cpu"), feeds, RUNS).operators
    scores = 2 * ROWS * tokens * tokens * width
    assert (times.kind, times.count, times.operations) == ("Attention", 1, 2 * scores)


def test_kinds_are_sorted_and_means_are_of_a_run() -> None:
    times = GraphTimes.of(3.0, 2, [("a", 0.5, 0), ("b", 1.0, 8), ("a", 0.1, 0), ("b", 2.0, 8)])
    assert [(each.kind, each.count, each.seconds, each.operations) for each in times.operators] == [
        ("b", 1, 1.5, 8),
        ("a", 1, 0.3, 0),
    ]


def test_an_operator_says_which_other_provider_runs_it() -> None:
    node = {"op_name": "Shape", "provider": "CPUExecutionProvider"}
    assert name_operator(node, "CPUExecutionProvider") == "Shape"
    assert name_operator(node, "WebGpuExecutionProvider") == "Shape (CPU)"
    assert name_operator({"op_name": "Shape"}, "CPUExecutionProvider") == "Shape"
