"""q4 on a graph of one table and two products; with weights as a model has them, see methods/test_gptq.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import pytest

from edgepipe import Bundle
from edgepipe.backend.engines import create_session
from edgepipe.errors import InputError
from edgepipe_export.quantization.quantize import quantize
from edgepipe_export.quantization.recipes.q4 import Q4Options
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.methods.test_gptq import TARGET, written
from tests.export.quantization.small_graphs import layered, layered_logits

IDS = np.random.default_rng(0).integers(0, 60, (6, 5))
TABLE, PRODUCT, HEAD = "model.embeddings.weight", "val_3", "classifier.weight"


def make(folder: Path, *, cache: bool = False, **job: Any) -> tuple[dict[str, Any], onnx_ir.Graph]:
    source, path = folder / "source.onnx", folder / "model.onnx"
    save_graph(layered(cache=cache), source)
    recipe = quantize("q4", source, path, TARGET, **job)
    return dict(recipe), onnx_ir.load(path).graph


def bits(graph: onnx_ir.Graph) -> dict[str, int]:
    """In how many bits each weight is."""
    return {name[: -len("_q4")]: int(name[-1]) for name in graph.initializers if name.endswith(("_q4", "_q8"))}


def test_tables_keep_8_bits(tmp_path: Path) -> None:
    recipe, graph = make(tmp_path)
    assert bits(graph) == {TABLE: 8, PRODUCT: 4, HEAD: 4}
    assert (recipe["embedding_bits"], recipe["block_size"], recipe["rounding"]) == (8, 32, "nearest")
    (found,) = create_session(tmp_path / "model.onnx").run({"ids": IDS}).values()
    assert np.corrcoef(found.ravel(), layered_logits(IDS).ravel())[0, 1] > 0.98


@pytest.mark.parametrize("block_size", [64, 16])
def test_blocks_are_larger_in_decoders_unless_their_size_is_given(block_size: int, tmp_path: Path) -> None:
    options = Q4Options() if block_size == 64 else Q4Options(block_size=block_size)
    recipe, graph = make(tmp_path, cache=True, options=options)
    assert recipe["block_size"] == block_size
    sizes = {
        (node.attributes["bits"].as_int(), node.attributes["block_size"].as_int())
        for node in graph
        if node.op_type == "MatMulNBits"
    }
    assert max(sizes) == (4, block_size)  # a row that is shorter has shorter blocks


def test_tables_can_have_4_bits(tmp_path: Path) -> None:
    assert bits(make(tmp_path, options=Q4Options(embedding_bits=4))[1]) == {TABLE: 4, PRODUCT: 4, HEAD: 4}


def test_layers_can_have_8_bits_or_none(tmp_path: Path) -> None:
    recipe, graph = make(tmp_path, precisions={PRODUCT: "w8", HEAD: "fp32"})
    assert bits(graph) == {TABLE: 8, PRODUCT: 8}
    assert HEAD in graph.initializers
    assert recipe["precisions"] == {PRODUCT: "w8", HEAD: "fp32"}


@pytest.mark.parametrize("symmetric", [True, False])
def test_blocks_have_a_zero_point_each_unless_they_are_symmetric(symmetric: bool, tmp_path: Path) -> None:
    _, graph = make(tmp_path, options=Q4Options(symmetric=symmetric))
    assert [f"{name}_zero_points" in graph.initializers for name in (TABLE, PRODUCT)] == [False, not symmetric]


def test_batches_round_by_gptq(tmp_path: Path) -> None:
    batches = [{"ids": IDS}]
    recipe, _ = make(tmp_path, batches=batches)
    assert recipe["rounding"] == "gptq"
    by_gptq = written(tmp_path / "model.onnx")
    make(tmp_path, batches=batches, options=Q4Options(rounding="nearest"))
    assert written(tmp_path / "model.onnx") != by_gptq


def test_all_in_8_bits_is_not_rounded_by_gptq(tmp_path: Path) -> None:
    recipe, _ = make(tmp_path, batches=[{"ids": IDS}], precisions={PRODUCT: "w8", HEAD: "w8"})
    assert recipe["rounding"] == "nearest"
    assert "rounded_to_nearest" not in recipe


def test_without_batches_all_is_rounded_to_nearest(exported: Bundle, tmp_path: Path) -> None:
    source = exported.graph("fp32")
    paths = {name: tmp_path / name / "model.onnx" for name in ("default", "asked")}
    for path in paths.values():
        path.parent.mkdir()
    recipe = quantize("q4", source, paths["default"], TARGET)
    quantize("q4", source, paths["asked"], TARGET, options=Q4Options(rounding="nearest"))
    assert recipe["rounding"] == "nearest"
    assert written(paths["default"]) == written(paths["asked"])


def test_a_rounding_that_there_is_not(exported: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no rounding 'hqq'.*gptq, nearest"):
        quantize("q4", exported.graph("fp32"), tmp_path / "model.onnx", TARGET, options=Q4Options(rounding="hqq"))
