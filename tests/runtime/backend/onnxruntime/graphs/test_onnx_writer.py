"""Models written without the onnx package are what the onnx package would have written."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepipe.backend.onnxruntime.graphs.onnx_writer import (
    Node,
    declare_initializer,
    write_field,
    write_initializer,
    write_model,
    write_node,
)
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


def test_parts_of_a_model_are_what_onnx_would_write() -> None:
    wanted = helper.make_node("MatMulIntegerToFloat", ["a", "", "b"], ["c"], domain="com.microsoft")
    product = write_node(Node("MatMulIntegerToFloat", ["a", "", "b"], ["c"], domain="com.microsoft"))
    array = np.arange(6, dtype=np.int8).reshape(2, 3)
    content = product + write_initializer("inside", array) + declare_initializer("beside", "int8", (70_000, 3), "given")
    (node,), (inside, beside) = (
        (graph := onnx.load_model_from_string(write_field(7, content)).graph).node,
        graph.initializer,
    )
    assert node == wanted
    assert inside == numpy_helper.from_array(array, "inside")
    assert (beside.name, list(beside.dims), beside.data_type) == ("beside", [70_000, 3], TensorProto.INT8)
    assert beside.data_location == TensorProto.EXTERNAL
    assert [(entry.key, entry.value) for entry in beside.external_data] == [("location", "given")]
