"""w8 on a graph of one table and two products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import pytest

from edgepipe.backend.engines import create_session
from edgepipe_export.quantization.quantize import quantize
from edgepipe_export.quantization.recipes.w8 import W8Options
from edgepipe_export.quantization.target import Target
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.small_graphs import layered, layered_logits, weights

TARGET = Target("vnni")
IDS = np.random.default_rng(0).integers(0, 60, (4, 5))


def make(folder: Path, *, cache: bool = False, options: Any = None, **job: Any) -> tuple[dict[str, Any], onnx_ir.Graph]:
    source, path = folder / "source.onnx", folder / "model.onnx"
    save_graph(layered(cache=cache), source)
    recipe = quantize("w8", source, path, TARGET, options=options, **job)
    return dict(recipe), onnx_ir.load(path).graph


def products(graph: onnx_ir.Graph) -> dict[str, dict[str, int]]:
    """The options of each product in blocks."""
    names = ("bits", "block_size", "accuracy_level")
    return {
        node.name or "": {name: node.attributes[name].as_int() for name in names}
        for node in graph
        if node.op_type == "MatMulNBits"
    }


@pytest.mark.parametrize(("cache", "block_size"), [(False, 32), (True, 128)])
def test_blocks_are_larger_where_reading_weights_takes_the_time(cache: bool, block_size: int, tmp_path: Path) -> None:
    recipe, graph = make(tmp_path, cache=cache)
    assert recipe["block_size"] == block_size
    found = products(graph)
    assert found.keys() == {"product", "classify"}
    assert {(options["bits"], options["accuracy_level"]) for options in found.values()} == {(8, 4)}
    assert [name for name in weights() if name in graph.initializers] == ["model.dense.bias", "classifier.bias"]


def test_results_are_near_to_fp32(tmp_path: Path) -> None:
    make(tmp_path)
    (found,) = create_session(tmp_path / "model.onnx").run({"ids": IDS}).values()
    expected = layered_logits(IDS)
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
    assert np.abs(found - expected).max() > 0


def test_the_caller_s_options_hold(tmp_path: Path) -> None:
    options = W8Options(block_size=16, symmetric=False, accuracy_level=1)
    recipe, graph = make(tmp_path, options=options)
    assert {name: recipe[name] for name in ("block_size", "symmetric", "accuracy_level")} == {
        "block_size": 16,
        "symmetric": False,
        "accuracy_level": 1,
    }
    assert {(each["block_size"], each["accuracy_level"]) for each in products(graph).values()} == {(16, 1)}
    assert any(name.endswith("_zero_points") for name in graph.initializers)


def test_activations_are_smoothed_where_there_are_batches(tmp_path: Path) -> None:
    for batches in ((), ({"ids": IDS},)):
        recipe, graph = make(tmp_path, batches=batches)
        assert recipe["smoothing"] == (0.5 if batches else 0.0)
        assert any("smoothing" in name for name in graph.initializers) is bool(batches)


def test_a_layer_that_stays_fp32(tmp_path: Path) -> None:
    recipe, graph = make(tmp_path, precisions={"val_3": "fp32"})
    assert recipe["precisions"] == {"val_3": "fp32"}
    assert products(graph).keys() == {"classify"}
    assert "val_3" in graph.initializers
