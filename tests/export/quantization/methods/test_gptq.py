from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle
from edgepipe_export.quantization.methods import gptq
from edgepipe_export.quantization.methods.gptq import round_by_gptq
from edgepipe_export.quantization.quantize import quantize
from edgepipe_export.quantization.recipes.q4 import Q4Options
from edgepipe_export.quantization.target import Target
from edgepipe_export.quantization.weights.blockwise import BlockFormat, QuantizedWeight, round_to_nearest
from edgepipe_export.quantization.weights.layers import find_uses
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.weights.test_blockwise import decoded, tied

TARGET = Target("vnni")
INPUTS, OUTPUTS = 200, 48  # the last block is not full
BLOCKS = [BlockFormat(4, size, symmetric) for size in (32, 128) for symmetric in (True, False)]

Arrays = dict[str, NDArray[Any]]


def correlated(rows: int = 1500) -> NDArray[np.float32]:
    """Inputs of a layer that few directions make most of: float32[rows, INPUTS]."""
    numbers = np.random.default_rng(0)
    mixed = numbers.normal(size=(INPUTS, INPUTS)) * (numbers.random(INPUTS) ** 4)[:, None]
    return (numbers.normal(size=(rows, INPUTS)) @ mixed).astype(np.float32)


def weights() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(INPUTS, OUTPUTS)).astype(np.float32) * 0.05


def loss(inputs: NDArray[np.float32], weight: NDArray[np.float32], coded: QuantizedWeight) -> float:
    """How far the layer's outputs are from what they were, as a share of their size."""
    return float(np.linalg.norm(inputs @ (decoded(coded).T - weight)) / np.linalg.norm(inputs @ weight))


def batches(count: int, seed: int) -> list[Arrays]:
    """For the tiny BERT, the last two of eight tokens of every first text padding."""
    numbers = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        ids = numbers.integers(5, 60, (8, 8))
        mask = np.ones_like(ids)
        mask[0, -2:] = 0
        made.append({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
    return made


def written(graph: Path) -> list[bytes]:
    return [path.read_bytes() for path in (graph, graph.with_name(f"{graph.name}_data"))]


@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
def test_products_lose_less(blocks: BlockFormat) -> None:
    inputs, weight = correlated(), weights()
    seen, unseen = inputs[:1000], inputs[1000:]
    nearest = round_to_nearest("layer", weight, blocks)
    coded = round_by_gptq(weight, blocks, seen.T @ seen)
    assert loss(unseen, weight, coded) < 0.6 * loss(unseen, weight, nearest)
    np.testing.assert_array_equal(coded.scales, nearest.scales)
    assert (coded.zero_points is None) == (nearest.zero_points is None) == blocks.symmetric
    assert coded.codes.shape == nearest.codes.shape


@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
@pytest.mark.parametrize("size", [0.0, 3.0, np.inf])
def test_inputs_that_tell_nothing_of_each_other_round_to_nearest(blocks: BlockFormat, size: float) -> None:
    moments = np.diag(np.full(INPUTS, size, np.float32))
    nearest = round_to_nearest("layer", weights(), blocks)
    np.testing.assert_array_equal(round_by_gptq(weights(), blocks, moments).codes, nearest.codes)


@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
def test_inputs_that_are_always_zero_have_no_part(blocks: BlockFormat) -> None:
    inputs, weight = correlated(), weights()
    dead = [0, 7, 70, INPUTS - 1]
    inputs[:, dead] = 0
    weight[:, 3] = 0  # scales of zero as well
    nearest = round_to_nearest("layer", weight, blocks)
    coded = round_by_gptq(weight, blocks, inputs.T @ inputs)
    np.testing.assert_array_equal(decoded(coded)[:, dead], decoded(nearest)[:, dead])
    assert not decoded(coded)[3].any()
    assert loss(inputs, weight, coded) < loss(inputs, weight, nearest)


def test_fewer_rows_than_inputs() -> None:
    inputs, weight, blocks = correlated(20), weights(), BlockFormat(4, 32, symmetric=False)
    coded = round_by_gptq(weight, blocks, inputs.T @ inputs)
    assert loss(inputs, weight, coded) < loss(inputs, weight, round_to_nearest("layer", weight, blocks))


def test_a_graph_is_nearer_to_fp32(exported: Bundle, tmp_path: Path) -> None:
    source = exported.graph("fp32")
    unseen = batches(12, 1)

    def run(graph: Path) -> NDArray[np.float32]:
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        return np.concatenate([session.run(None, batch)[0] for batch in unseen])

    differences, recipes = {}, {}
    for rounding in ("nearest", "gptq"):
        graph = tmp_path / f"{rounding}.onnx"
        options = Q4Options(rounding=rounding)
        recipes[rounding] = quantize("q4", source, graph, TARGET, options=options, batches=batches(8, 0))
        differences[rounding] = np.abs(run(graph) - run(source)).mean()
    assert differences["gptq"] < 0.9 * differences["nearest"]
    assert [recipe["rounding"] for recipe in recipes.values()] == ["nearest", "gptq"]
    assert all("rounded_to_nearest" not in recipe for recipe in recipes.values())


@pytest.mark.parametrize("dtype", ["q4", "q4f16"])
def test_the_same_order_gives_the_same_bytes(exported: Bundle, tmp_path: Path, dtype: str) -> None:
    made = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        recipe = quantize(dtype, exported.graph("fp32"), folder / "model.onnx", TARGET, batches=batches(2, 0))
        assert recipe["rounding"] == "gptq"
        made.append(written(folder / "model.onnx"))
    assert made[0] == made[1]


def test_layers_that_are_too_wide_are_named(exported: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = exported.graph("fp32")
    model = onnx_ir.load(source)
    wide = {use.weight.name for use in find_uses(model.graph) if not use.is_table and use.array().shape[0] > 32}
    assert wide
    monkeypatch.setattr(gptq, "MAX_INPUTS", 32)
    recipe = quantize("q4", source, tmp_path / "model.onnx", TARGET, batches=batches(2, 0))
    assert recipe["rounding"] == "gptq"
    assert set(recipe["rounded_to_nearest"]) == wide


def test_shared_weights_are_rounded_to_nearest(tmp_path: Path) -> None:
    source = tmp_path / "source.onnx"
    save_graph(tied()[0], source)
    options = Q4Options(embedding_bits=4)
    feeds = [{"ids": np.arange(12).reshape(2, 6)}]
    recipe = quantize("q4", source, tmp_path / "model.onnx", TARGET, options=options, batches=feeds)
    assert recipe["rounding"] == "nearest"
