"""w8: weights in 8-bit blocks, products in 8-bit blocks of activations (``MatMulNBits``); embeddings too.

The most exact of the 8-bit recipes, and the fastest for decoding one token at a time. No data is needed; with some of
it the activations are smoothed first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import onnx_ir

from edgepipe_export.quantization.methods.smoothquant import smooth_activations
from edgepipe_export.quantization.recipe import CPU, CUDA, FP32, QuantizationJob, Recipe
from edgepipe_export.quantization.target import HOST_TARGETS
from edgepipe_export.quantization.weights.blockwise import BlockFormat, quantize_weights
from edgepipe_export.quantization.weights.layers import find_layers, has_cache
from edgepipe_export.tracing.serialization import save_graph


@dataclass(frozen=True, slots=True)
class W8Options:
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


def quantize(job: QuantizationJob, options: W8Options) -> Mapping[str, Any]:
    """Write the w8 graph; see :func:`edgepipe_export.quantization.quantize.quantize`."""
    model = onnx_ir.load(job.source)
    if options.block_size is None:
        options = replace(options, block_size=128 if has_cache(model.graph) else 32)
    options = replace(options, smoothing=smooth_activations(model, job, options.smoothing))
    assert options.block_size is not None
    blocks = BlockFormat(8, options.block_size, options.symmetric)
    layers = {layer.name for layer in find_layers(model)} - job.layers_in(FP32)
    quantize_weights(model, dict.fromkeys(layers, blocks), accuracy_level=options.accuracy_level)
    save_graph(model, job.destination)
    return {"name": "w8", "weights": "8 bits in blocks", **asdict(options)}


RECIPE = Recipe("w8", W8Options, quantize, providers=(CPU, CUDA), targets=(*HOST_TARGETS, "cuda"), mixes=(FP32,))
