"""Recipes on graphs with a cache: they run token by token, tied weights are stored once, and scores stay close."""

from __future__ import annotations

import numpy as np
import onnx_ir
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle
from edgepipe.backend.engines import create_session
from edgepipe.bundle.layout import LOGITS_TO_KEEP
from edgepipe.models.decoder.causal import CausalGraph
from edgepipe_export import export
from edgepipe_export.quantization.quantize import find_layers
from tests.tiny.generative import build_generative

# Least correlation with the scores of fp32; random weights are far from what 4 bits are good for.
RECIPES = {"int8": 0.98, "w8": 0.99, "w8-rows": 0.99, "q4": 0.5, "q4-rows": 0.5, "fp16": 0.9999, "q4f16": 0.5}
# Tied weights and Gemm; groups of heads, a written-out norm, and no ties.
FAMILIES = ("gpt2", "llama")


@pytest.fixture(scope="module", params=FAMILIES)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    model, tokenizer = build_generative(request.param)
    return export(
        model,
        tmp_path_factory.mktemp("decoders") / request.param,
        tokenizer=tokenizer,
        task="text-generation",
        dtypes=("fp32", *RECIPES),
        verify=False,
    )


def scores(bundle: Bundle, dtype: str) -> NDArray[np.float32]:
    """Of a prompt of two rows, one padded, and of three steps after it: float32[rows, 4, vocabulary]."""
    graph = CausalGraph(bundle, dtype)
    ids = np.array([[0, 0, 7, 8, 9], [5, 6, 7, 8, 9]])
    mask = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    decoding = graph.begin(ids, mask, 12)
    found = [decoding.step(ids).copy()]  # the next step writes over it
    found += [decoding.step(np.array([[token], [token + 1]])).copy() for token in (10, 11, 12)]
    return np.stack(found, 1)


@pytest.mark.parametrize("dtype", list(RECIPES))
def test_scores_stay_close(bundle: Bundle, dtype: str) -> None:
    expected = scores(bundle, "fp32")
    found = scores(bundle, dtype)
    assert found.shape == expected.shape
    correlation = np.corrcoef(found.ravel(), expected.ravel())[0, 1]
    assert correlation >= RECIPES[dtype]
    assert np.abs(found - expected).max() > 0


@pytest.mark.parametrize("dtype", ["fp32", *RECIPES])
def test_runtimes_that_know_no_number_of_logits_get_all(bundle: Bundle, dtype: str) -> None:
    session = create_session(bundle.graph(dtype))
    assert session.optional_inputs == {LOGITS_TO_KEEP: "int64"}
    ids = np.array([[5, 6, 7]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(3)[None]}
    for name, shape in session.input_shapes.items():
        if name.startswith("past_key_values."):
            _, heads, _, width = shape
            assert isinstance(heads, int)
            assert isinstance(width, int)
            feeds[name] = np.zeros((1, heads, 0, width), session.inputs[name])
    feeds = {name: feeds[name] for name in session.inputs}
    every, last = session.run(feeds)["logits"], session.run(feeds | {LOGITS_TO_KEEP: np.array(1)})["logits"]
    assert every.shape[:2] == (1, 3)
    np.testing.assert_allclose(every[:, -1:], last, atol=1e-2 * np.abs(last).max())


@pytest.mark.parametrize("dtype", ["int8", "w8", "w8-rows", "q4", "q4-rows"])
def test_a_tied_head_is_stored_once(bundle: Bundle, dtype: str) -> None:
    tied = [layer for layer in find_layers(bundle.graph("fp32")) if layer.tables and layer.products]
    initializers = onnx_ir.load(bundle.graph(dtype)).graph.initializers
    for layer in tied:
        assert layer.name not in initializers
        rows = [value for name, value in initializers.items() if name == f"{layer.name}_q8"]
        assert len(rows) == 1
        assert {node.op_type for node in rows[0].consumers()} == {"Gather", "MatMulNBits"}
    sizes = [value.const_value.size for value in initializers.values() if value.const_value is not None]
    assert sum(sizes) < 1.5 * sum(layer.size for layer in find_layers(bundle.graph("fp32"))) + 20_000


def test_half_precision_has_a_cache_in_half_precision(bundle: Bundle) -> None:
    assert bundle.manifest is not None
    assert bundle.manifest.variants["fp16"].recipe["cache"] == "concatenated"
    assert not bundle.shares_cache("fp16")
    graph = onnx_ir.load(bundle.graph("fp16")).graph
    types = {value.name: value.dtype for value in (*graph.inputs, *graph.outputs)}
    assert types["past_key_values.0.key"] == types["present.0.key"] == onnx_ir.DataType.FLOAT16
    assert types["logits"] == onnx_ir.DataType.FLOAT
    assert "GroupQueryAttention" not in {node.op_type for node in graph}
