"""q4f16: as q4 and fp16 one after the other."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx_ir
import pytest

from edgepipe import Bundle
from edgepipe_export.quantization.quantize import default_options, quantize
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.recipes.test_fp16 import HALF, TARGET, constant_types, feeds, run
from tests.export.quantization.small_graphs import layered

IDS = {"ids": np.random.default_rng(0).integers(0, 60, (4, 5))}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.onnx"
    save_graph(layered(), path)
    return path


def test_the_recipe_has_the_options_of_both(source: Path, tmp_path: Path) -> None:
    recipe = quantize("q4f16", source, tmp_path / "model.onnx", TARGET)
    q4 = quantize("q4", source, tmp_path / "other.onnx", TARGET)
    assert {name: recipe[name] for name in q4 if name != "name"} == {name: q4[name] for name in q4 if name != "name"}
    assert (recipe["name"], recipe["headroom"], recipe["kept"]) == ("q4f16", 8.0, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{name}.onnx{ending}" for name in ("source", "model", "other") for ending in ("", "_data")
    )


def test_nothing_is_left_in_fp32(source: Path, tmp_path: Path) -> None:
    quantize("q4f16", source, tmp_path / "model.onnx", TARGET)
    assert onnx_ir.DataType.FLOAT not in constant_types(tmp_path / "model.onnx").values()
    quantize("q4", source, tmp_path / "other.onnx", TARGET)
    expected = run(tmp_path / "other.onnx", IDS)
    assert np.abs(run(tmp_path / "model.onnx", IDS) - expected).max() < 0.05 * np.abs(expected).max()


def test_the_options_of_the_blocks_hold(source: Path, tmp_path: Path) -> None:
    options = default_options("q4f16")
    options = replace(options, q4=replace(options.q4, block_size=16, symmetric=True), headroom=2.0)
    recipe = quantize("q4f16", source, tmp_path / "model.onnx", TARGET, options=options)
    assert {name: recipe[name] for name in ("block_size", "symmetric", "headroom")} == {
        "block_size": asdict(options.q4)["block_size"],
        "symmetric": True,
        "headroom": 2.0,
    }


def test_a_layer_that_stays_fp32_stays_so_in_both(source: Path, tmp_path: Path) -> None:
    recipe = quantize("q4f16", source, tmp_path / "model.onnx", TARGET, precisions={"val_3": "fp32"})
    assert recipe["kept"] == ["product"]
    assert constant_types(tmp_path / "model.onnx")["val_3"] == onnx_ir.DataType.FLOAT


def test_blocks_of_4_bits_in_half_precision(exported: Bundle, tmp_path: Path) -> None:
    source, path, other = exported.graph("fp32"), tmp_path / "q4f16.onnx", tmp_path / "q4.onnx"
    recipe = quantize("q4f16", source, path, TARGET)
    quantize("q4", source, other, TARGET)
    assert recipe["name"] == "q4f16"
    assert {kind for name, kind in constant_types(path).items() if name.endswith("_scales")} == {HALF}
    np.testing.assert_allclose(run(path, feeds()), run(other, feeds()), atol=0.25)
