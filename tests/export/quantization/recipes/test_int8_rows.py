from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle
from edgepipe.backend.engines import create_session
from edgepipe.errors import InputError
from edgepipe_export.quantization.quantize import check_dtypes, quantize
from edgepipe_export.quantization.target import Target
from edgepipe_export.quantization.weights.layers import find_layers

DTYPE = "int8-rows"


def feeds(rows: int) -> dict[str, NDArray[Any]]:
    """Random ids; each text but the first ends in padding."""
    ids = np.random.default_rng(0).integers(5, 60, (rows, 12))
    mask = np.ones_like(ids)
    for row in range(1, rows):
        mask[row, -(row % 6) :] = 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def test_a_text_gives_the_same_in_any_batch(exported: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "model_int8_rows.onnx"
    recipe = quantize(DTYPE, exported.graph("fp32"), path, Target("vnni"))
    assert recipe["name"] == DTYPE
    quantize("int8", exported.graph("fp32"), tmp_path / "model_int8.onnx", Target("vnni"))
    graphs = (path, tmp_path / "model_int8.onnx", exported.graph("fp32"))
    rows, whole, exact = (create_session(graph) for graph in graphs)
    inputs = feeds(8)
    alone = [{name: array[row : row + 1] for name, array in inputs.items()} for row in range(8)]
    together = rows.run(inputs)["logits"]
    np.testing.assert_array_equal(np.concatenate([rows.run(own)["logits"] for own in alone]), together)
    moved = np.concatenate([whole.run(own)["logits"] for own in alone]) - whole.run(inputs)["logits"]
    assert np.abs(moved).max() > 0
    expected = exact.run(inputs)["logits"]
    # Where no row is larger than others, as here, one scale for all does as well.
    assert np.abs(together - expected).mean() < 2 * np.abs(whole.run(inputs)["logits"] - expected).mean()
    assert sorted(item.name for item in tmp_path.glob("*rows*")) == [path.name, f"{path.name}_data"]


@pytest.mark.parametrize("precision", ["fp32", "w8"])
def test_single_layers_can_be_raised(exported: Bundle, tmp_path: Path, precision: str) -> None:
    source = exported.graph("fp32")
    layer = next(layer for layer in find_layers(onnx_ir.load(source)) if layer.products)
    recipe = quantize(DTYPE, source, tmp_path / "model.onnx", Target("vnni"), precisions={layer.name: precision})
    assert recipe["precisions"] == {layer.name: precision}
    graph = onnx_ir.load(tmp_path / "model.onnx").graph
    operators = [node.op_type for node in graph]
    assert operators.count("MatMulNBits") == (precision == "w8")
    assert "DynamicQuantizeLinear" not in operators


def test_it_is_not_for_openvino() -> None:
    with pytest.raises(InputError, match="int8-rows is not for the target openvino"):
        check_dtypes(DTYPE, Target("openvino"))
