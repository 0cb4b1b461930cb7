"""Norms that divide are one operator of onnxruntime's, and give what they gave."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgepipe_export.tracing.passes.divide_by_root import DivideByRootPass
from tests.tiny.generation import export_generative

FUSED = "SimplifiedLayerNormalization"


class Norm(torch.nn.Module):
    """RMSNorm as models have it: the weight before or behind."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-2, 2, 48))
        self.first = first

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        inverse = torch.rsqrt(states.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * (inverse * states if self.first else states * inverse)


def trace(module: torch.nn.Module, states: torch.Tensor) -> onnx_ir.Model:
    program = torch.onnx.export(module, (states,), dynamo=True, opset_version=20, verbose=False)
    assert program is not None
    return program.model


def run(model: onnx_ir.Model, folder: Path, states: torch.Tensor) -> tuple[np.ndarray[Any, Any], Counter[str]]:
    """What onnxruntime gives, and the operators that it makes of the graph."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    session = onnxruntime.InferenceSession(
        onnx_ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    [found] = session.run(None, {session.get_inputs()[0].name: states.numpy()})
    return found, Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


@pytest.mark.parametrize("first", [False, True], ids=["behind", "before"])
def test_a_norm_becomes_one_operator_with_the_same_result(tmp_path: Path, first: bool) -> None:
    torch.manual_seed(0)
    states = torch.randn(3, 7, 48) * 5
    model = trace(Norm(first=first).eval(), states)
    before, operators = run(model, tmp_path, states)
    assert operators["Reciprocal"] == 1
    assert FUSED not in operators
    assert DivideByRootPass()(model).modified
    RemoveUnusedNodesPass()(model)
    assert "Reciprocal" not in {node.op_type for node in model.graph}
    after, operators = run(model, tmp_path, states)
    assert operators[FUSED] == 1
    np.testing.assert_allclose(after, before, rtol=2e-6)
    assert not DivideByRootPass()(model).modified


def test_reciprocals_of_something_else_stay() -> None:
    value = onnx_ir.val("x", onnx_ir.DataType.FLOAT, [2])
    inverse = onnx_ir.node("Reciprocal", [value], name="inverse")
    product = onnx_ir.node("Mul", [value, inverse.outputs[0]], name="product")
    graph = onnx_ir.Graph([value], product.outputs, nodes=[inverse, product], opset_imports={"": 20})
    assert not DivideByRootPass()(onnx_ir.Model(graph, ir_version=10)).modified
    assert [node.op_type for node in graph] == ["Reciprocal", "Mul"]


def test_every_norm_of_a_decoder_is_one_operator(tmp_path: Path) -> None:
    _, _, bundle = export_generative("llama", tmp_path)
    graph = bundle.path / "onnx" / "model.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    operators = Counter(
        node.op_type for node in onnx.load(tmp_path / "optimized.onnx", load_external_data=False).graph.node
    )
    traced = Counter(node.op_type for node in onnx.load(graph, load_external_data=False).graph.node)
    assert operators[FUSED] == traced["ReduceMean"] > 2
    assert "ReduceMean" not in operators
