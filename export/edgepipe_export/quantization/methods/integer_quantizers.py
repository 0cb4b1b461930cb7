"""What the recipes that compute in integers share: what comes before onnxruntime's quantizer, and what after it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx_ir

from edgepipe_export.quantization.recipe import BLOCKWISE_8, FP32, Order
from edgepipe_export.quantization.weights.blocks import Blocks
from edgepipe_export.quantization.weights.blockwise import code_weights
from edgepipe_export.quantization.weights.layers import Layer
from edgepipe_export.tracing.serialization import save_graph


def code_in_blocks(model: onnx_ir.Model, order: Order, layers: list[Layer], embedding_block: int) -> None:
    """Put embeddings, heads tied to them, and the layers that are to have ``"w8"`` into 8-bit blocks, in place."""
    kept, raised = order.names(FP32), order.names(BLOCKWISE_8)
    chosen = [layer.name for layer in layers if layer.name not in kept and (layer.tables or layer.name in raised)]
    code_weights(model, dict.fromkeys(chosen, Blocks(8, embedding_block, symmetric=False)))


def quantize_with(quantizer: Callable[[Path, Path], None], model: onnx_ir.Model, destination: Path) -> None:
    """Have one of onnxruntime's quantizers read and write files, and write its graph as all of ours are written.

    Args:
        quantizer: Takes the graph to read and the one to write.
        model: The graph; it is used up.
        destination: The graph to write in the end.
    """
    scratch = Path(tempfile.mkdtemp(dir=destination.parent, prefix="quantizing-"))
    try:
        shapes = _take_shapes(model)
        save_graph(model, scratch / "shapeless.onnx")
        quantizer(scratch / "shapeless.onnx", scratch / "model.onnx")
        quantized = onnx_ir.load(scratch / "model.onnx")
        quantized.producer_name, quantized.producer_version = "edgepipe", None
        quantized.metadata_props.clear()
        _give_shapes(quantized, shapes)
        save_graph(quantized, destination)
    finally:
        shutil.rmtree(scratch)


def _take_shapes(model: onnx_ir.Model) -> dict[str, onnx_ir.Shape]:
    """Drop the shapes of intermediate values, which onnxruntime's quantizer infers afresh; returns them by name.

    It turns each Gemm into a MatMul and transposes the weight, but leaves the weight's recorded shape as it was, and
    its own shape inference then fails.
    """
    shapes = {}
    for value in _intermediate(model):
        if value.name is not None and value.shape is not None:
            shapes[value.name] = value.shape
        value.shape = None
    for value in model.graph.initializers.values():
        if not value.is_graph_input():  # one with a default
            # Both or neither: of constants that are declared without a shape onnx infers wrong ones behind a Slice.
            value.shape = value.type = None
    return shapes


def _give_shapes(model: onnx_ir.Model, shapes: dict[str, onnx_ir.Shape]) -> None:
    """Record the shapes that values had: without them onnxruntime leaves additions and norms apart that it could fuse.

    What is inferred again has lost most names of dimensions, and shapes of which it is not known that they are equal do
    not fit.
    """
    for value in _intermediate(model):
        value.shape = shapes.get(value.name or "", value.shape)


def _intermediate(model: onnx_ir.Model) -> Iterator[onnx_ir.Value]:
    for node in model.graph.all_nodes():
        yield from (value for value in node.outputs if not value.is_graph_output())
