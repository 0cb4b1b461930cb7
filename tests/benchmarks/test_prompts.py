"""Integer products made of weights in blocks give what the blocks give, but for rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from benchmarks.graphs.products import CONTRIBUTED, model
from benchmarks.graphs.prompts import use_integer_products
from onnx import ModelProto, helper, numpy_helper

from edgepipe.backend.machine import saturates

INPUTS, OUTPUTS, BLOCK = 40, 6, 16


def blockwise(bits: int, *, zeros: bool, bias: bool) -> ModelProto:
    """A product of weights in blocks, the last of which is not full."""
    numbers, blocks = np.random.default_rng(0), -(-INPUTS // BLOCK)
    weights: dict[str, Any] = {
        "codes": numbers.integers(0, 256, (OUTPUTS, blocks, BLOCK * bits // 8), np.uint8),
        "scales": numbers.uniform(0.005, 0.02, (OUTPUTS, blocks)).astype(np.float32),
    }
    if zeros:
        weights["zeros"] = numbers.integers(0, 256, (OUTPUTS, -(-blocks * bits // 8)), np.uint8)
    if bias:
        weights["bias"] = numbers.normal(size=OUTPUTS).astype(np.float32)
    names = ["activations", "codes", "scales", "zeros" if zeros else "", "", "bias" if bias else ""]
    layout = {"K": INPUTS, "N": OUTPUTS, "bits": bits, "block_size": BLOCK, "accuracy_level": 1}
    node = helper.make_node("MatMulNBits", names, ["products"], domain=CONTRIBUTED, **layout)
    return model(node, weights, INPUTS, OUTPUTS)


def run(proto: ModelProto, activations: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"activations": activations})[0])


@pytest.mark.skipif(saturates(), reason="sums of 8-bit products overflow on this processor")
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("zeros", "bias"), [pytest.param(False, False, id="symmetric"), pytest.param(True, True, id="with-all-inputs")]
)
def test_integer_products_have_the_same_weights(bits: int, zeros: bool, bias: bool) -> None:
    activations = np.random.default_rng(1).normal(size=(7, INPUTS)).astype(np.float32)
    activations[2] *= 100  # each row has a scale of its own
    activations[3] = 0
    proto = blockwise(bits, zeros=zeros, bias=bias)
    expected = run(proto, activations)
    use_integer_products(proto)
    assert "MatMulNBits" not in {node.op_type for node in proto.graph.node}
    assert not {"codes", "zeros"} & {tensor.name for tensor in proto.graph.initializer}
    found = run(proto, activations)
    sizes = np.abs(expected).max(axis=1, keepdims=True)
    assert (np.abs(found - expected) <= 0.03 * sizes + 1e-6).all()
    np.testing.assert_allclose(found[3], numpy_bias(proto), atol=1e-6)


def numpy_bias(proto: ModelProto) -> np.ndarray[Any, Any]:
    """What is added to a row of zeros."""
    found = [numpy_helper.to_array(tensor) for tensor in proto.graph.initializer if tensor.name == "bias"]
    return found[0] if found else np.zeros(OUTPUTS, np.float32)
