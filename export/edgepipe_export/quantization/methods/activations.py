"""What flows through a graph: the largest magnitudes of its values, and how its channels go together."""

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


def channel_peaks(source: Path, batches: Batches) -> dict[str, NDArray[np.float32]]:
    """Run a graph and watch the inputs of its products with constant weights.

    Args:
        source: The graph.
        batches: Inputs to run it on.

    Returns:
        The largest magnitude of every channel, float32[channels], by the name of the value.
    """
    model = onnx_ir.load(source)
    watched = {use.activations.name or "": use.activations for use in find_uses(model.graph) if not use.is_table}
    peaks: dict[str, NDArray[np.float32]] = {}
    for arrays in _watch(source.parent, model, list(watched.values()), batches):
        for name, array in arrays.items():
            peak = np.abs(array.reshape(-1, array.shape[-1])).max(0)
            peaks[name] = np.maximum(peaks[name], peak) if name in peaks else peak
    return peaks


def value_peaks(source: Path, batches: Batches) -> dict[str, float]:
    """Run a graph and watch all its numbers; what masks out (the lowest there is) does not count.

    Args:
        source: The graph.
        batches: Inputs to run it on.

    Returns:
        The largest magnitude by the name of the value.
    """
    model = onnx_ir.load(source)
    watched = [
        value for node in model.graph for value in node.outputs if value.dtype == onnx_ir.DataType.FLOAT and value.name
    ]
    peaks = dict.fromkeys((value.name or "" for value in watched), 0.0)
    for arrays in _watch(source.parent, model, watched, batches):
        for name, array in arrays.items():
            numbers = np.abs(array[array > _MASKED])
            peaks[name] = max(peaks[name], float(numbers.max(initial=0.0)))
    return peaks


def second_moments(
    model: onnx_ir.Model, folder: Path, batches: Batches, names: Collection[str]
) -> dict[str, NDArray[np.float32]]:
    """Run a graph and add up the products of every two channels of some values.

    Args:
        model: The graph, which need not be on disk as it is.
        folder: Where there is room for it.
        batches: Inputs to run it on; what an ``attention_mask`` in them leaves out does not count.
        names: The values that products read.

    Returns:
        float32[channels, channels] by the name of the value.
    """
    watched = model.clone()
    values = {use.activations.name or "": use.activations for use in find_uses(watched.graph) if not use.is_table}
    moments: dict[str, NDArray[np.float32]] = {}
    chosen = [values[name] for name in sorted(names)]
    for batch, arrays in zip(batches, _watch(folder, watched, chosen, batches), strict=True):
        mask = batch.get("attention_mask")
        for name, array in arrays.items():
            shown = array if mask is None or mask.shape != array.shape[:-1] else array[mask > 0]
            rows = shown.reshape(-1, array.shape[-1])
            moments[name] = moments.get(name, np.float32(0)) + rows.T @ rows
    return moments


def _watch(
    folder: Path, model: onnx_ir.Model, values: list[onnx_ir.Value], batches: Batches
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """The values of each batch; the graph's outputs are replaced by them."""
    model.graph.outputs.clear()
    model.graph.outputs.extend(values)
    with tempfile.TemporaryDirectory(dir=folder, prefix="watched-") as scratch:
        path = Path(scratch) / "model.onnx"
        save_graph(model, path)
        session = create_session(path)
        for batch in batches:
            yield session.run({name: batch[name] for name in session.inputs})
