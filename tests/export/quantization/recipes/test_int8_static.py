from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle
from edgepipe.errors import InputError
from edgepipe_export.quantization.quantize import default_options, find_layers, quantize
from edgepipe_export.quantization.target import find_target

DTYPE = "int8-static"
# Graphs run here, and a processor without VNNI adds products of all 8 bits wrongly.
TARGET = find_target()


def feeds(rows: int, length: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    ids = np.random.default_rng(seed).integers(5, 60, (rows, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


BATCHES = [feeds(4, 9, seed=1), feeds(3, 14, seed=2)]  # of two lengths, which a histogram of all at once cannot take


def made(bundle: Bundle, folder: Path, **options: Any) -> Path:
    path = folder / "model_int8_static.onnx"
    chosen = replace(default_options(DTYPE), **options)
    quantize(DTYPE, bundle.graph("fp32"), path, TARGET, options=chosen, batches=BATCHES)
    return path


def run(graph: Path, inputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[np.float32]] = session.run(None, inputs)
    return outputs[0]


def test_only_what_goes_into_products_is_quantized(exported: Bundle, tmp_path: Path) -> None:
    graph = onnx_ir.load(made(exported, tmp_path)).graph
    readers = Counter()
    for node in graph:
        if node.op_type == "QuantizeLinear":
            for turned in node.outputs[0].consumers():
                readers.update(reader.op_type for reader in turned.outputs[0].consumers())
    assert set(readers) == {"MatMul", "Gemm"}
    assert sum(readers.values()) == 14  # 2 layers of 6, pooler, classifier
    makers = {node.inputs[0].producer().op_type for node in graph if node.op_type == "QuantizeLinear"}  # type: ignore[union-attr]
    assert not makers & {"MatMul", "Softmax", "Add"}


@pytest.mark.parametrize("method", ["min-max", "entropy", "percentile"])
def test_it_stays_close_to_fp32(exported: Bundle, tmp_path: Path, method: str) -> None:
    inputs = feeds(8, 12)
    expected = run(exported.graph("fp32"), inputs)
    path = made(exported, tmp_path, method=method)
    assert np.abs(run(path, inputs) - expected).max() < 0.25 * np.abs(expected).max()
    assert sorted(item.name for item in tmp_path.iterdir()) == [path.name, f"{path.name}_data"]


def test_everything_in_8_bits_is_further_off(exported: Bundle, tmp_path: Path) -> None:
    inputs = feeds(8, 12)
    expected = run(exported.graph("fp32"), inputs)
    errors = []
    for everything in (False, True):
        path = made(exported, tmp_path, everything=everything)
        errors.append(float(np.abs(run(path, inputs) - expected).mean()))
    assert errors[1] > errors[0]


def test_layers_can_stay_fp32(exported: Bundle, tmp_path: Path) -> None:
    source, path = exported.graph("fp32"), tmp_path / "model.onnx"
    precisions = {layer.name: "fp32" for layer in find_layers(source)}
    quantize(DTYPE, source, path, TARGET, precisions=precisions, batches=BATCHES)
    np.testing.assert_allclose(run(path, BATCHES[0]), run(source, BATCHES[0]), atol=1e-6)


def test_operators_can_stay_fp32(exported: Bundle, tmp_path: Path) -> None:
    source, inputs = exported.graph("fp32"), feeds(256, 12)  # the mean of few is a matter of chance
    options = replace(default_options(DTYPE), everything=True, smoothing=0.0)
    layers = find_layers(source, DTYPE, options)
    operators = [layer for layer in layers if layer.operators]
    assert layers == [*operators, *find_layers(source)]
    assert find_layers(source, DTYPE) == find_layers(source)
    errors = {}
    for count in (0, len(operators), len(layers)):
        path = tmp_path / f"{count}.onnx"
        precisions = {layer.name: "fp32" for layer in layers[:count]}
        quantize(DTYPE, source, path, TARGET, options=options, precisions=precisions, batches=BATCHES)
        errors[count] = float(np.abs(run(path, inputs) - run(source, inputs)).mean())
    assert errors[0] > errors[len(operators)] > errors[len(layers)]
    assert errors[len(layers)] < 1e-6
    raised = {layer.name: "w8" for layer in layers if not layer.operators}
    quantize(DTYPE, source, path, TARGET, options=options, precisions=raised, batches=BATCHES)
    graph = onnx_ir.load(path).graph
    assert sum(node.op_type == "MatMulNBits" for node in graph) == 14
    with pytest.raises(InputError, match=r"cannot have the layer Softmax in 'w8'; it mixes with fp32"):
        quantize(DTYPE, source, path, TARGET, options=options, precisions={"Softmax": "w8"}, batches=BATCHES)
    with pytest.raises(InputError, match="has no layer 'Softmax'"):
        quantize(DTYPE, source, path, TARGET, precisions={"Softmax": "fp32"}, batches=BATCHES)


def test_it_needs_batches(exported: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"int8-static must be calibrated.*--calibration"):
        quantize(DTYPE, exported.graph("fp32"), tmp_path / "model.onnx", TARGET)


def test_an_unknown_method(exported: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'median'.*min-max, entropy, percentile"):
        made(exported, tmp_path, method="median")
