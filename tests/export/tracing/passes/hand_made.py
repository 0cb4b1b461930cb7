"""A small graph for tests of passes."""

from __future__ import annotations

from typing import Any

import onnx_ir


def hand_made(shape: list[Any]) -> onnx_ir.Model:
    """Inputs ``read``, ``unread`` and ``passed on`` of one shape, and an output that has twice the first axis."""
    values = [
        onnx_ir.Value(name=name, shape=onnx_ir.Shape(shape), type=onnx_ir.TensorType(onnx_ir.DataType.FLOAT))
        for name in ("read", "unread", "passed on")
    ]
    node = onnx_ir.node("Relu", [values[0]])
    node.outputs[0].shape = onnx_ir.Shape([f"2*{shape[0]}", "other"])
    graph = onnx_ir.Graph(values, [node.outputs[0], values[2]], nodes=[node], opset_imports={"": 20})
    return onnx_ir.Model(graph, ir_version=10)
