from __future__ import annotations

import numpy as np
import onnx_ir

from edgepipe_export.tracing.passes.deduplicate_weights import DeduplicateWeightsPass


def test_equal_weights_are_stored_once() -> None:
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    arrays = {
        "first": weight,
        "copy": weight.copy(),
        "transposed": np.asfortranarray(weight),  # as PyTorch gives them: not contiguous
        "other shape": weight.reshape(4, 3),
        "other type": weight.astype(np.float64),
        "other numbers": weight + 1,
    }
    initializers = [onnx_ir.Value(name=name, const_value=onnx_ir.Tensor(array)) for name, array in arrays.items()]
    nodes = [onnx_ir.node("Neg", [value], name=f"reads {value.name}") for value in initializers]
    outputs = [node.outputs[0] for node in nodes]
    graph = onnx_ir.Graph([], outputs, nodes=nodes, initializers=initializers, opset_imports={"": 20})
    model = onnx_ir.Model(graph, ir_version=10)
    assert DeduplicateWeightsPass()(model).modified
    assert list(graph.initializers) == ["first", "other shape", "other type", "other numbers"]
    assert [node.inputs[0].name for node in nodes if node.inputs[0] is not None][:4] == ["first"] * 3 + ["other shape"]
    assert not DeduplicateWeightsPass()(model).modified
