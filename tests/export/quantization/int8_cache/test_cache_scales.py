from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir
import pytest

from edgepipe_export.quantization.int8_cache.cache_scales import HEADROOM, CacheScales, measure_scales
from edgepipe_export.tracing.serialization import save_graph

KEYS = "past_key_values.0.key"
FLOAT, INT64 = onnx_ir.DataType.FLOAT, onnx_ir.DataType.INT64


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A decoder whose new keys are its ids times 1, -2 and 0, in two heads, the second ten times as large."""
    ids = onnx_ir.val("input_ids", INT64, ["batch", "new"])
    past = onnx_ir.val(KEYS, FLOAT, ["batch", 2, "past", 3])
    factors = np.array([[[[1, -2, 0]], [[10, -20, 0]]]], np.float32)
    nodes, initializers = [], []

    def constant(name: str, array: np.ndarray) -> onnx_ir.Value:
        value = onnx_ir.Value(name=name, const_value=onnx_ir.tensor(array, name=name))
        initializers.append(value)
        return value

    def add(operator: str, *inputs: onnx_ir.Value, **attributes: object) -> onnx_ir.Value:
        nodes.append(onnx_ir.node(operator, inputs, attributes=attributes))
        nodes[-1].outputs[0].name = f"value_{len(nodes)}"
        return nodes[-1].outputs[0]

    numbers = add("Cast", add("Unsqueeze", ids, constant("axes", np.array([1, 3]))), to=FLOAT)
    present = add("Concat", past, add("Mul", numbers, constant("factors", factors)), axis=2)
    present.name, present.type = KEYS.replace("past_key_values", "present"), onnx_ir.TensorType(FLOAT)
    present.shape = onnx_ir.Shape(["batch", 2, "total", 3])
    made = onnx_ir.Graph(
        [ids, past], [present], nodes=nodes, initializers=initializers, opset_imports={"": 20}, name="keys"
    )
    save_graph(onnx_ir.Model(made, ir_version=10), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_a_channel_s_scale_is_its_largest_number_with_headroom(graph: Path) -> None:
    found = measure_scales(graph, [np.array([3, 5]), np.array([1, 2, 4])])
    expected = HEADROOM * np.array([[5, 10, 0.1], [50, 100, 1]], np.float32) / 127
    np.testing.assert_allclose(found.scales[KEYS], expected, rtol=1e-6)
    assert (found.texts, found.tokens) == (2, 3)


def test_a_head_of_zeros_has_scales_that_can_be_divided_by(graph: Path) -> None:
    scale = measure_scales(graph, [np.array([0, 0])]).scales[KEYS]
    assert (scale > 0).all()
    assert np.isfinite(np.float32(0) / scale).all()


def test_they_say_what_they_are_from() -> None:
    described = CacheScales({}, 4, 512).describe()
    assert described == {
        "dtype": "int8",
        "scales": "one a channel",
        "headroom": HEADROOM,
        "texts": 4,
        "longest_text": 512,
    }
