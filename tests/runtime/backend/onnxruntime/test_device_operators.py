"""Graphs written without the onnx package are what the onnx package would have written, and do what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgepipe.backend.device import TensorView
from edgepipe.backend.onnxruntime.device_operators import argmax, gather_rows, gather_rows_and_extend, top_k
from edgepipe.backend.onnxruntime.onnx_writer import Node, write_model
from edgepipe.backend.onnxruntime.ort_device import HOST
from edgepipe.errors import BundleError


def test_a_model_is_what_onnx_would_write() -> None:
    content = write_model(
        [
            Node("Gather", ["block", "rows"], ["kept"], {"axis": 300}),
            Node("ArgMax", ["kept"], ["tokens"], {"axis": -1, "keepdims": 0}),
        ],
        {"block": ("float16", 5), "rows": ("int64", 1)},
        {"tokens": ("int64", 4)},
    )
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["block", "rows"], ["kept"], axis=300),
            helper.make_node("ArgMax", ["kept"], ["tokens"], axis=-1, keepdims=0),
        ],
        "small",
        [
            helper.make_tensor_value_info("block", TensorProto.FLOAT16, [None] * 5),
            helper.make_tensor_value_info("rows", TensorProto.INT64, [None]),
        ],
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, [None] * 4)],
    )
    wanted = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    found = onnx.load_model_from_string(content)
    onnx.checker.check_model(found)
    assert found == wanted


def test_an_unknown_dtype_is_an_error() -> None:
    with pytest.raises(BundleError, match="bfloat16 cannot be kept on a device, only float32"):
        write_model([], {"block": ("bfloat16", 5)}, {})


def result(graph: Any, name: str, **inputs: Any) -> Any:
    return HOST.fetch(graph.run(inputs, {name: None})[name])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_are_moved(dtype: str) -> None:
    block = np.arange(2 * 3 * 2 * 4 * 5).reshape(2, 3, 2, 4, 5).astype(dtype)
    rows = np.array([2, 0, 0, 1])
    assert np.array_equal(result(gather_rows(dtype, HOST), "gathered", block=block, rows=rows), block[:, rows])
    room = np.zeros((2, 4, 2, 3, 5), dtype)
    found = result(gather_rows_and_extend(dtype, HOST), "gathered", block=block, rows=rows, room=room)
    assert np.array_equal(found, np.concatenate([block[:, rows], room], axis=3))


def test_the_first_of_the_best_is_taken() -> None:
    scores = np.random.default_rng(0).integers(0, 9, (3, 2, 50)).astype(np.float32)
    found = result(argmax("float32", HOST), "tokens", scores=scores)
    assert found.dtype == np.int64
    assert np.array_equal(found, scores.argmax(-1))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_best_come_with_their_log_probabilities(dtype: str) -> None:
    scores = np.random.default_rng(0).normal(0, 3, (3, 2, 50)).astype(dtype)
    scores[0, 0, 7] = scores[0, 0, 3]
    found = top_k(dtype, HOST).run({"scores": scores, "count": np.array([6])}, {"logarithms": None, "tokens": None})
    exact = scores.astype(np.float64)
    exact -= np.log(np.exp(exact).sum(-1, keepdims=True))
    order = np.argsort(-exact, axis=-1, kind="stable")[..., :6]
    assert np.array_equal(HOST.fetch(found["tokens"]), order)
    np.testing.assert_allclose(HOST.fetch(found["logarithms"]), np.take_along_axis(exact, order, -1), atol=1e-5)


def test_views_of_one_memory_are_read_and_written() -> None:
    memory = HOST.copy(np.arange(24, dtype=np.float32))
    source = TensorView(memory, HOST, (2, 3, 1, 1, 2), "float32")
    target = TensorView(memory, HOST, (2, 1, 1, 1, 2), "float32", 12)
    gather_rows("float32", HOST).run({"block": source, "rows": np.array([1])}, {"gathered": target})
    assert memory.numpy()[:12].tolist() == list(range(12))
    assert memory.numpy()[12:].tolist() == [2, 3, 8, 9, *range(16, 24)]
