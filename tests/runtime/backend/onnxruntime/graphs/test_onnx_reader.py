"""The heads of nodes and weights are those that the onnx package reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepipe.backend.external_data import read_messages
from edgepipe.backend.onnxruntime.graphs.onnx_reader import (
    INITIALIZER,
    NODE,
    OUTPUT,
    read_graphs,
    read_name,
    read_node,
    read_opset,
    read_tensor,
)

ARRAYS = {"narrow": np.arange(6, dtype=np.float32).reshape(2, 3), "wide": np.arange(300, dtype=np.int64)}


def make_model(opset: int = 20) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["narrow", "ids"], ["rows"], axis=-1),
        helper.make_node(
            "MatMulNBits", ["rows", "", "wide"], ["logits"], domain="com.microsoft", K=70_000, bits=4, alpha=0.5
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "read",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", 3])],
        [numpy_helper.from_array(array, name) for name, array in ARRAYS.items()],
    )
    opsets = [helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def fields(data: bytes, kind: int) -> list[tuple[int, int]]:
    ((start, end),) = read_graphs(data)
    return [(first, last) for number, first, last in read_messages(data, start, end) if number == kind]


def test_nodes() -> None:
    data = make_model().SerializeToString()
    gather, product = (read_node(data, *place) for place in fields(data, NODE))
    assert (gather.operator, gather.domain, gather.inputs, gather.outputs) == (
        "Gather",
        "",
        ("narrow", "ids"),
        ("rows",),
    )
    assert gather.integers["axis"] & 2**64 - 1 == 2**64 - 1  # -1 in two's complement
    assert (product.operator, product.domain, product.inputs) == ("MatMulNBits", "com.microsoft", ("rows", "", "wide"))
    assert {name: product.integers[name] for name in ("K", "bits")} == {"K": 70_000, "bits": 4}
    assert [read_name(data, *place) for place in fields(data, OUTPUT)] == ["logits"]


@pytest.mark.parametrize("opset", [7, 20, 200])
def test_the_opset_is_that_of_onnx(opset: int) -> None:
    assert read_opset(make_model(opset).SerializeToString()) == opset


def test_weights_within_the_graph() -> None:
    data = make_model().SerializeToString()
    for place, (name, array) in zip(fields(data, INITIALIZER), ARRAYS.items(), strict=True):
        tensor = read_tensor(data, *place)
        assert (tensor.name, tensor.dims, tensor.location) == (name, array.shape, "")
        assert tensor.dtype == helper.np_dtype_to_tensor_dtype(array.dtype)
        assert tensor.inside is not None
        assert data[slice(*tensor.inside)] == array.tobytes()


def test_weights_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(make_model(), path, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    data, beside = path.read_bytes(), (tmp_path / "model.onnx_data").read_bytes()
    for place, (name, array) in zip(fields(data, INITIALIZER), ARRAYS.items(), strict=True):
        tensor = read_tensor(data, *place)
        assert (tensor.name, tensor.dims, tensor.inside, tensor.location) == (
            name,
            array.shape,
            None,
            "model.onnx_data",
        )
        assert beside[tensor.offset :][: tensor.length] == array.tobytes()
