"""What the recipes that compute in integers share: what comes before onnxruntime's quantizer, and what after it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx_ir

from edgepipe_export.graphs.files import save_graph
from edgepipe_export.quantize.blockwise import code_weights
from edgepipe_export.quantize.coded import Blocks
from edgepipe_export.quantize.layers import Layer
from edgepipe_export.quantize.recipe import BLOCKWISE_8, FP32, Order


def code_in_blocks(model: onnx_ir.Model, order: Order, layers: list[Layer], embedding_block: int) -> None:
    """Put embeddings, heads tied to them, and the layers that are to have ``"w8"`` into 8-bit blocks, in place."""
    kept, raised = order.names(FP32), order.names(BLOCKWISE_8)
    chosen = [layer.name for layer in layers if layer.name not in kept and (layer.tables or layer.name in raised)]
    code_weights(model, dict.fromkeys(chosen, Blocks(8, embedding_block, symmetric=False)))


def quantize_with(quantizer: Callable[[Path, Path], None], model: onnx_ir.Model, destination: Path) -> None:
    """Have one of onnxruntime's quantizers read and write files, and write its graph as all of ours are written.

    Args:
        quantizer: Takes the graph to read and the one to write.
        model: The graph; its shapes are lost.
        destination: The graph to write in the end.
    """
    scratch = Path(tempfile.mkdtemp(dir=destination.parent, prefix="quantizing-"))
    try:
        _forget_shapes(model)
        save_graph(model, scratch / "shapeless.onnx")
        quantizer(scratch / "shapeless.onnx", scratch / "model.onnx")
        quantized = onnx_ir.load(scratch / "model.onnx")
        quantized.producer_name, quantized.producer_version = "edgepipe", None
        quantized.metadata_props.clear()
        save_graph(quantized, destination)
    finally:
        shutil.rmtree(scratch)


def _forget_shapes(model: onnx_ir.Model) -> None:
    """Drop the shapes of intermediate values, which onnxruntime infers afresh.

    It turns each Gemm into a MatMul and transposes the weight, but leaves the weight's recorded shape as it was, and
    its own shape inference then fails.
    """
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    for value in model.graph.initializers.values():
        if not value.is_graph_input():  # one with a default
            # Both or neither: of constants that are declared without a shape onnx infers wrong ones behind a Slice.
            value.shape = value.type = None
