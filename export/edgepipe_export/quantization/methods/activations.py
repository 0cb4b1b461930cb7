"""What calibration batches show of a graph's values: largest magnitudes, means, and how channels correlate."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir

from edgepipe.backend.engines import create_session
from edgepipe_export.quantization.weights.layers import find_uses
from edgepipe_export.tracing.serialization import save_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Batches = Sequence[Mapping[str, NDArray[Any]]]

# Masks add the lowest number there is.
_MASKED = -1e30


def channel_maxima(source: Path, batches: Batches) -> dict[str, NDArray[np.float32]]:
    """The largest magnitude of every channel, of the inputs of products with constant weights.

    Args:
        source: The graph.
        batches: Inputs to run it on.

    Returns:
        float32[channels] by the name of the value.
    """
    model = onnx_ir.load(source)
    inputs = {use.activations.name or "": use.activations for use in find_uses(model.graph) if not use.is_table}
    maxima: dict[str, NDArray[np.float32]] = {}
    for arrays in _run(source.parent, model, list(inputs.values()), batches):
        for name, array in arrays.items():
            maximum = np.abs(array.reshape(-1, array.shape[-1])).max(0)
            maxima[name] = np.maximum(maxima[name], maximum) if name in maxima else maximum
    return maxima


def value_maxima(source: Path, batches: Batches) -> dict[str, float]:
    """The largest magnitude of every float value; what masks out (the lowest number there is) does not count.

    Args:
        source: The graph.
        batches: Inputs to run it on.

    Returns:
        The magnitudes by the name of the value.
    """
    model = onnx_ir.load(source)
    values = [
        value for node in model.graph for value in node.outputs if value.dtype == onnx_ir.DataType.FLOAT and value.name
    ]
    maxima = dict.fromkeys((value.name or "" for value in values), 0.0)
    for arrays in _run(source.parent, model, values, batches):
        for name, array in arrays.items():
            numbers = np.abs(array[array > _MASKED])
            maxima[name] = max(maxima[name], float(numbers.max(initial=0.0)))
    return maxima


def input_hessians(
    model: onnx_ir.Model, folder: Path, batches: Batches, names: Collection[str]
) -> dict[str, NDArray[np.float32]]:
    """The sums of the products of every two channels of some values: GPTQ's Hessians, but for a factor of 2.

    Args:
        model: The graph, which need not be on disk as it is.
        folder: Where there is room for it.
        batches: Inputs to run it on; what an ``attention_mask`` in them leaves out does not count.
        names: The values that products read.

    Returns:
        float32[channels, channels] by the name of the value.
    """
    hessians: dict[str, NDArray[np.float32]] = {}
    for name, rows in _token_rows(model, folder, batches, names):
        hessians[name] = hessians.get(name, np.float32(0)) + rows.T @ rows
    return hessians


def channel_means(
    model: onnx_ir.Model, folder: Path, batches: Batches, names: Collection[str]
) -> dict[str, NDArray[np.float32]]:
    """The mean of every channel of some values; the arguments are those of :func:`input_hessians`.

    Returns:
        float32[channels] by the name of the value.
    """
    sums: dict[str, NDArray[np.float64]] = {}
    counts = dict.fromkeys(names, 0)
    for name, rows in _token_rows(model, folder, batches, names):
        sums[name] = sums.get(name, np.float64(0)) + rows.sum(0, dtype=np.float64)
        counts[name] += len(rows)
    return {name: (total / max(counts[name], 1)).astype(np.float32) for name, total in sums.items()}


def _token_rows(
    model: onnx_ir.Model, folder: Path, batches: Batches, names: Collection[str]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """What products read of each batch, by name: float32[tokens, channels], padding left out."""
    clone = model.clone()
    values = {use.activations.name or "": use.activations for use in find_uses(clone.graph) if not use.is_table}
    chosen = [values[name] for name in sorted(names)]
    for batch, arrays in zip(batches, _run(folder, clone, chosen, batches), strict=True):
        mask = batch.get("attention_mask")
        for name, array in arrays.items():
            tokens = array if mask is None or mask.shape != array.shape[:-1] else array[mask > 0]
            yield name, tokens.reshape(-1, array.shape[-1])


def _run(
    folder: Path, model: onnx_ir.Model, values: list[onnx_ir.Value], batches: Batches
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """The values of each batch; the graph's outputs are replaced by them."""
    model.graph.outputs.clear()
    model.graph.outputs.extend(values)
    with tempfile.TemporaryDirectory(dir=folder, prefix="calibration-") as scratch:
        path = Path(scratch) / "model.onnx"
        save_graph(model, path)
        session = create_session(path)
        for batch in batches:
            yield session.run({name: batch[name] for name in session.inputs})
