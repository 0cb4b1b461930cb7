"""onnxruntime's quantizers, for the recipes that compute in integers: what comes before one and what after it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx_ir

from edgepipe_export.quantization.recipe import BLOCKWISE_8, FP32, QuantizationJob
from edgepipe_export.quantization.weights.blockwise import BlockFormat, quantize_weights
from edgepipe_export.quantization.weights.layers import Layer
from edgepipe_export.tracing.serialization import save_graph


def quantize_blockwise_layers(
    model: onnx_ir.Model, job: QuantizationJob, layers: list[Layer], embedding_block: int
) -> None:
    """Put embeddings, heads tied to them, and the layers that are to have ``"w8"`` into 8-bit blocks, in place."""
    excluded, in_w8 = job.layers_in(FP32), job.layers_in(BLOCKWISE_8)
    chosen = [layer.name for layer in layers if layer.name not in excluded and (layer.tables or layer.name in in_w8)]
    quantize_weights(model, dict.fromkeys(chosen, BlockFormat(8, embedding_block, symmetric=False)))


def run_quantizer(quantizer: Callable[[Path, Path], None], model: onnx_ir.Model, destination: Path) -> None:
    """Have one of onnxruntime's quantizers read and write files, and write its graph as all of ours are written.

    Args:
        quantizer: Takes the graph to read and the one to write.
        model: The graph; it is used up.
        destination: The graph to write in the end.
    """
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix="quantizing-") as scratch:
        shapeless, written = Path(scratch, "shapeless.onnx"), Path(scratch, "model.onnx")
        shapes = _remove_shapes(model)
        save_graph(model, shapeless)
        quantizer(shapeless, written)
        quantized = onnx_ir.load(written)
        quantized.producer_name, quantized.producer_version = "edgepipe", None
        quantized.metadata_props.clear()
        _restore_shapes(quantized, shapes)
        save_graph(quantized, destination)


def _remove_shapes(model: onnx_ir.Model) -> dict[str, onnx_ir.Shape]:
    """Drop the shapes of intermediate values, which onnxruntime's quantizer infers afresh; returns them by name.

    It turns each Gemm into a MatMul and transposes the weight, but leaves the weight's recorded shape as it was, and
    its own shape inference then fails.
    """
    shapes = {}
    for value in _intermediate_values(model):
        if value.name is not None and value.shape is not None:
            shapes[value.name] = value.shape
        value.shape = None
    for value in model.graph.initializers.values():
        if not value.is_graph_input():  # one with a default
            # Both or neither: of constants that are declared without a shape onnx infers wrong ones behind a Slice.
            value.shape = value.type = None
    return shapes


def _restore_shapes(model: onnx_ir.Model, shapes: dict[str, onnx_ir.Shape]) -> None:
    """Record the shapes that values had: without them onnxruntime leaves additions and norms apart that it could fuse.

    What is inferred again has lost most names of dimensions, and shapes of which it is not known that they are equal do
    not fit.
    """
    for value in _intermediate_values(model):
        value.shape = shapes.get(value.name or "", value.shape)


def _intermediate_values(model: onnx_ir.Model) -> Iterator[onnx_ir.Value]:
    for node in model.graph.all_nodes():
        yield from (value for value in node.outputs if not value.is_graph_output())
