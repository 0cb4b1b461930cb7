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
from edgepipe_export.quantization.methods.gptq import gptq_for
from edgepipe_export.quantization.methods.smoothquant import smooth_for
from edgepipe_export.quantization.recipe import BLOCKWISE_8, CPU, CUDA, FP32, Facts, Order
from edgepipe_export.quantization.weights.blocks import Blocks
from edgepipe_export.quantization.weights.blockwise import code_weights, round_to_nearest
from edgepipe_export.quantization.weights.layers import find_layers
from edgepipe_export.tracing.serialization import save_graph

FACTS = Facts(
    operators=("MatMul", "Gemm", "Gather"),
    providers=(CPU, CUDA),
    targets=("avx2", "avx512", "vnni", "arm64", "cuda"),
    needs_batches=False,
    uses_batches=True,
    mixes=(BLOCKWISE_8, FP32),
    use="the smallest; decoding one token at a time",
)

ROUNDINGS = ("gptq", "nearest")


@dataclass(frozen=True, slots=True)
class Options:
    """What decides the recipe.

    Attributes:
        block_size: Numbers of a row that share a scale: 16, 32, 64, 128 or 256.
        symmetric: One zero point for all blocks instead of one each.
        embedding_bits: 8 or 4, for tables of embeddings and heads tied to them; with 8 their blocks are of 128 and
            symmetric, which is exact enough and smaller.
        accuracy_level: 4 for products in 8-bit blocks of activations, 1 for products in fp32.
        smoothing: How much of the range of activations goes into the weights, 0 (none) to 1; needs batches, and does
            nothing without.
        rounding: ``"gptq"`` to keep products near to what they were
        (:mod:`edgepipe_export.quantization.methods.gptq`), which
            needs batches and is rounding to nearest without, and in layers of more than
            :data:`~edgepipe_export.quantization.methods.gptq.WIDEST` inputs; or ``"nearest"``.
    """

    block_size: int = 32
    symmetric: bool = False
    embedding_bits: int = 8
    accuracy_level: int = 4
    smoothing: float = 0.5
    rounding: str = "gptq"


def quantize(order: Order, options: Options) -> Mapping[str, Any]:
    """Write the q4 graph; see :func:`edgepipe_export.quantization.quantize.quantize`.

    Raises:
        InputError: there is no such rounding.
    """
    if options.rounding not in ROUNDINGS:
        raise InputError(f"there is no rounding {options.rounding!r}; it is one of {', '.join(ROUNDINGS)}")
    model = onnx_ir.load(order.source)
    options = replace(options, smoothing=smooth_for(model, order, options.smoothing))
    kept, raised = order.names(FP32), order.names(BLOCKWISE_8)
    fine, coarse = Blocks(4, options.block_size, options.symmetric), Blocks(8, 128, symmetric=True)
    of_tables = coarse if options.embedding_bits == 8 else fine
    blocks = {
        layer.name: coarse if layer.name in raised else of_tables if layer.tables else fine
        for layer in find_layers(model)
        if layer.name not in kept
    }
    of_4_bits = [name for name, cut in blocks.items() if cut.bits == 4]
    rounding, to_nearest = gptq_for(model, order, of_4_bits) if options.rounding == "gptq" else (round_to_nearest, ())
    if len(to_nearest) == len(of_4_bits):
        options, to_nearest = replace(options, rounding="nearest"), ()
    code_weights(model, blocks, accuracy_level=options.accuracy_level, rounding=rounding)
    save_graph(model, order.destination)
    excepted = {"rounded_to_nearest": list(to_nearest)} if to_nearest else {}
    return {"name": "q4", "weights": "4 bits in blocks", **asdict(options), **excepted}
