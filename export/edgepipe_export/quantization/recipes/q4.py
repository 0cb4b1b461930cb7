"""q4: weights of products in 4-bit blocks (``MatMulNBits``), embeddings in 8-bit ones.

The smallest, for decoding one token at a time. An embedding, and a head that is tied to it, keeps 8 bits: every token
depends on it, and in a model of some size it is a small part. No data is needed; with some of it the activations are
smoothed first, and codes are chosen by GPTQ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import onnx_ir

from edgepipe.errors import InputError
from edgepipe_export.quantization.methods.gptq import make_gptq_rounding
from edgepipe_export.quantization.methods.smoothquant import smooth_activations
from edgepipe_export.quantization.recipe import BLOCKWISE_8, CPU, CUDA, FP32, QuantizationJob, Recipe
from edgepipe_export.quantization.target import HOST_TARGETS
from edgepipe_export.quantization.weights.blockwise import BlockFormat, quantize_weights, round_to_nearest
from edgepipe_export.quantization.weights.layers import find_layers, has_cache
from edgepipe_export.tracing.serialization import save_graph

ROUNDINGS = ("gptq", "nearest")


@dataclass(frozen=True, slots=True)
class Q4Options:
    """What decides the recipe.

    Attributes:
        block_size: Numbers of a row that share a scale: 16, 32, 64, 128 or 256; None for 64 in decoders, which write
            a token a sixth faster with them, and 32 elsewhere, which is more exact.
        symmetric: One zero point for all blocks instead of one each.
        embedding_bits: 8 or 4, for tables of embeddings and heads tied to them; with 8 their blocks are of 128 and
            symmetric, which is exact enough and smaller.
        accuracy_level: 4 for products in 8-bit blocks of activations, 1 for products in fp32.
        smoothing: How much of the range of activations goes into the weights, 0 (none) to 1; needs batches, and does
            nothing without.
        rounding: ``"gptq"`` to keep products near to what they were
            (:mod:`edgepipe_export.quantization.methods.gptq`), or ``"nearest"``. GPTQ needs batches. Without them, and
            in layers of more than :data:`~edgepipe_export.quantization.methods.gptq.MAX_INPUTS` inputs, it is rounding
            to nearest.
    """

    block_size: int | None = None
    symmetric: bool = False
    embedding_bits: int = 8
    accuracy_level: int = 4
    smoothing: float = 0.5
    rounding: str = "gptq"


def quantize(job: QuantizationJob, options: Q4Options) -> Mapping[str, Any]:
    """Write the q4 graph; see :func:`edgepipe_export.quantization.quantize.quantize`.

    Raises:
        InputError: there is no such rounding.
    """
    if options.rounding not in ROUNDINGS:
        raise InputError(f"there is no rounding {options.rounding!r}; it is one of {', '.join(ROUNDINGS)}")
    model = onnx_ir.load(job.source)
    if options.block_size is None:
        options = replace(options, block_size=64 if has_cache(model.graph) else 32)
    options = replace(options, smoothing=smooth_activations(model, job, options.smoothing))
    assert options.block_size is not None
    excluded, in_8_bits = job.layers_in(FP32), job.layers_in(BLOCKWISE_8)
    four_bits, eight_bits = BlockFormat(4, options.block_size, options.symmetric), BlockFormat(8, 128, symmetric=True)
    table_format = eight_bits if options.embedding_bits == 8 else four_bits
    formats = {
        layer.name: eight_bits if layer.name in in_8_bits else table_format if layer.tables else four_bits
        for layer in find_layers(model)
        if layer.name not in excluded
    }
    in_4_bits = [name for name, layout in formats.items() if layout.bits == 4]
    rounding, to_nearest = (
        make_gptq_rounding(model, job, in_4_bits) if options.rounding == "gptq" else (round_to_nearest, ())
    )
    if len(to_nearest) == len(in_4_bits):
        options, to_nearest = replace(options, rounding="nearest"), ()
    quantize_weights(model, formats, accuracy_level=options.accuracy_level, rounding=rounding)
    save_graph(model, job.destination)
    excepted = {"rounded_to_nearest": list(to_nearest)} if to_nearest else {}
    return {"name": "q4", "weights": "4 bits in blocks", **asdict(options), **excepted}


RECIPE = Recipe(
    "q4", Q4Options, quantize, providers=(CPU, CUDA), targets=(*HOST_TARGETS, "cuda"), in_transformers_js=True
)
