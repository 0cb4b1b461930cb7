"""What flows through a graph: the largest magnitude of every channel that goes into a product."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir

from edgepipe.session import Session
from edgepipe_export.graphs.files import save_graph
from edgepipe_export.quantize.layers import find_uses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Batches = Sequence[Mapping[str, NDArray[Any]]]


def channel_peaks(source: Path, batches: Batches) -> dict[str, NDArray[np.float32]]:
    """Run a graph and watch the inputs of its products with constant weights.

    Args:
        source: The graph.
        batches: Inputs to run it on.

    Returns:
        The largest magnitude of every channel, float32[channels], by the name of the value.
    """
    model = onnx_ir.load(source)
    watched = {use.activations.name: use.activations for use in find_uses(model.graph) if not use.is_table}
    model.graph.outputs.clear()
    model.graph.outputs.extend(watched.values())
    peaks: dict[str, NDArray[np.float32]] = {}
    with tempfile.TemporaryDirectory(dir=source.parent, prefix="watched-") as folder:
        path = Path(folder) / "model.onnx"
        save_graph(model, path)
        session = Session(path)
        for batch in batches:
            for name, array in session.run({key: batch[key] for key in session.inputs}).items():
                peak = np.abs(array.reshape(-1, array.shape[-1])).max(0)
                peaks[name] = np.maximum(peaks[name], peak) if name in peaks else peak
    return peaks
