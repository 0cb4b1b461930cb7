"""int8: 8-bit weights, activations quantized as they come (onnxruntime's dynamic quantization).

Matrix products with constant weights run in integers; embeddings, and heads tied to them, are stored in 8-bit blocks;
everything else, the products inside attention included, stays fp32. Attention of encoders becomes one operator where
its form allows that. No data is needed, but with some of it the activations are smoothed first: one scale for all of
them is what costs most of the accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgepipe_export.quantization.methods.onnxruntime_quantizer import quantize_blockwise_layers, run_quantizer
from edgepipe_export.quantization.methods.smoothquant import smooth_activations
from edgepipe_export.quantization.recipe import CPU, FP32, QuantizationJob, Recipe
from edgepipe_export.quantization.target import HOST_TARGETS
from edgepipe_export.quantization.weights.layers import find_layers, find_stacked_products, has_cache
from edgepipe_export.tracing.passes.fuse_attention import FuseAttentionPass


@dataclass(frozen=True, slots=True)
class Int8Options:
    """What decides the recipe.

    Attributes:
        per_channel: A scale for every output channel of a weight instead of one for all.
        reduce_range: Weights in 7 bits, for processors whose 8-bit products saturate; None decides by the target.
        embedding_block: Numbers of an embedding that share a scale.
        smoothing: How much of the range of activations goes into the weights, 0 (none) to 1; needs batches, and does
            nothing without.
    """

    per_channel: bool = True
    reduce_range: bool | None = None
    embedding_block: int = 128
    smoothing: float = 0.75


def quantize(job: QuantizationJob, options: Int8Options) -> Mapping[str, Any]:
    """Write the int8 graph; see :func:`edgepipe_export.quantization.quantize.quantize`."""
    if options.reduce_range is None:
        options = replace(options, reduce_range=job.target.reduce_range)
    model = onnx_ir.load(job.source)
    layers = find_layers(model)
    if not job.target.standard_attention and not has_cache(model.graph):
        FuseAttentionPass()(model)
    options = replace(options, smoothing=smooth_activations(model, job, options.smoothing))
    quantize_blockwise_layers(model, job, layers, options.embedding_block)

    untouched = [node for layer in layers if layer.name in job.layers_in(FP32) for node in layer.products]
    untouched += [f"{node}_MatMul" for node in untouched]  # onnxruntime's name for what it makes of a Gemm
    untouched += find_stacked_products(model.graph)

    def quantizer(source: Path, destination: Path) -> None:
        quantize_dynamic(
            source,
            destination,
            op_types_to_quantize=["MatMul"],  # Gemm among them: it becomes a MatMul and an Add
            nodes_to_exclude=untouched,
            per_channel=options.per_channel,
            reduce_range=options.reduce_range,
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
            extra_options={"MatMulConstBOnly": True},
        )

    run_quantizer(quantizer, model, job.destination)
    return {
        "name": "int8",
        "target": job.target.name,
        "weights": "int8",
        "activations": "dynamic uint8",
        **asdict(options),
    }


RECIPE = Recipe("int8", Int8Options, quantize, providers=(CPU,), targets=HOST_TARGETS, in_transformers_js=True)
