"""Of a table that is read by row nothing counts, however it is packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from benchmarks.peers.writing.weights_read import count_onnx, count_openvino
from onnx import TensorProto, helper, numpy_helper
from openvino import opset13

ROWS, WIDTH = 50, 16
TABLE = np.ones((ROWS, WIDTH), np.uint8)


@pytest.mark.parametrize("tied", [pytest.param(False, id="apart"), pytest.param(True, id="tied")])
def test_a_model_of_openvino(tied: bool, tmp_path: Path) -> None:
    ids = opset13.parameter([1, -1], np.int64, name="ids")
    table = opset13.constant(TABLE)
    packed = opset13.multiply(opset13.convert(table, np.float32), opset13.constant(np.ones((ROWS, 1), np.float32)))
    rows = opset13.gather(packed, ids, opset13.constant(np.array(0)))
    last = packed if tied else opset13.constant(np.ones((7, WIDTH), np.float32))
    model = openvino.Model([opset13.matmul(rows, last, False, True)], [ids], "model")
    openvino.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    matrix = TABLE.nbytes + 4 * ROWS if tied else 4 * 7 * WIDTH
    assert count_openvino(tmp_path / "model.xml") == pytest.approx(matrix, abs=16), "an axis is a weight of 8 bytes"


@pytest.mark.parametrize("tied", [pytest.param(False, id="apart"), pytest.param(True, id="tied")])
def test_a_graph_of_onnxruntime(tied: bool, tmp_path: Path) -> None:
    weights = {"table": np.ones((ROWS, WIDTH), np.float32), "matrix": np.ones((WIDTH, 7), np.float32)}
    used = "table" if tied else "matrix"
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Gemm", ["rows", used], ["logits"], transB=int(tied)),
    ]
    values = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["tokens"])]
    results = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["tokens", "words"])]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes, "graph", values, results, stored)), tmp_path / "model.onnx")
    assert count_onnx(tmp_path / "model.onnx") == weights[used].nbytes
