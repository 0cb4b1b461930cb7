"""w8: weights in 8-bit blocks, products in 8-bit blocks of activations (``MatMulNBits``); embeddings too.

The most exact of the 8-bit recipes, and the fastest for decoding one token at a time. No data is needed; with some of
it the activations are smoothed first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import onnx_ir

from edgepipe_export.quantization.methods.smoothquant import smooth_for
from edgepipe_export.quantization.recipe import CPU, CUDA, FP32, Facts, Order
from edgepipe_export.quantization.weights.blocks import Blocks
from edgepipe_export.quantization.weights.blockwise import code_weights
from edgepipe_export.quantization.weights.layers import find_layers, has_cache
from edgepipe_export.tracing.serialization import save_graph

FACTS = Facts(
    operators=("MatMul", "Gemm", "Gather"),
    providers=(CPU, CUDA),
    targets=("avx2", "avx512", "vnni", "arm64", "cuda"),
    needs_batches=False,
    uses_batches=True,
    mixes=(FP32,),
    use="close to fp32; decoding one token at a time",
)


@dataclass(frozen=True, slots=True)
class Options:
    """What decides the recipe.

    Attributes:
        block_size: Numbers of a row that share a scale: 16, 32, 64, 128 or 256; None for 128 in decoders, where a
            token's time goes into reading the weights, and 32 elsewhere, which is more exact.
        symmetric: One zero point for all blocks instead of one each.
        accuracy_level: 4 for products in 8-bit blocks of activations, 1 for products in fp32.
        smoothing: How much of the range of activations goes into the weights, 0 (none) to 1; needs batches, and does
            nothing without.
    """

    block_size: int | None = None
    symmetric: bool = True
    accuracy_level: int = 4
    smoothing: float = 0.5


def quantize(order: Order, options: Options) -> Mapping[str, Any]:
    """Write the w8 graph; see :func:`edgepipe_export.quantization.quantize.quantize`."""
    model = onnx_ir.load(order.source)
    if options.block_size is None:
        options = replace(options, block_size=128 if has_cache(model.graph) else 32)
    options = replace(options, smoothing=smooth_for(model, order, options.smoothing))
    kept = order.names(FP32)
    assert options.block_size is not None
    blocks = Blocks(8, options.block_size, options.symmetric)
    layers = [layer for layer in find_layers(model) if layer.name not in kept]
    code_weights(model, {layer.name: blocks for layer in layers}, accuracy_level=options.accuracy_level)
    save_graph(model, order.destination)
    return {"name": "w8", "weights": "8 bits in blocks", **asdict(options)}
