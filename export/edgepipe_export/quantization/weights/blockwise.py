"""Weights in blocks, each with a scale of its own: ``MatMulNBits`` for products, and lookups in the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxruntime.capi._pybind_state import quantize_matmul_4bits, quantize_matmul_8bits

from edgepipe_export.quantization.weights.blocks import (
    BlockFormat,
    QuantizedWeight,
    WeightInitializers,
    add_initializers,
)
from edgepipe_export.quantization.weights.embedding_lookup import replace_gather
from edgepipe_export.quantization.weights.layers import WeightUse, added_bias, find_uses, shape_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Quantizes the weight of a layer, by its name: float32[inputs, outputs].
Rounding = Callable[[str, "NDArray[np.float32]", BlockFormat], QuantizedWeight]

_KERNELS: Mapping[int, Callable[..., Any]] = {4: quantize_matmul_4bits, 8: quantize_matmul_8bits}


def round_to_nearest(name: str, weight: NDArray[np.float32], block_format: BlockFormat) -> QuantizedWeight:
    """Quantize every number to the nearest there is, with onnxruntime's own kernels."""
    inputs, outputs = weight.shape
    block_format = block_format.shrink_to(inputs)
    bits, block_size = block_format.bits, block_format.block_size
    count = -(-inputs // block_size)
    codes = np.zeros((outputs, count, block_size * bits // 8), np.uint8)
    scales = np.zeros(outputs * count, np.float32)
    zero_points = np.zeros((outputs, -(-count * bits // 8)), np.uint8)
    _KERNELS[bits](
        codes,
        np.ascontiguousarray(weight),
        scales,
        zero_points.reshape(-1),
        block_size,
        outputs,
        inputs,
        block_format.symmetric,
    )
    return QuantizedWeight(
        codes,
        scales.reshape(outputs, count),
        None if block_format.symmetric else zero_points,
        inputs,
        block_format,
    )


def quantize_weights(
    model: onnx_ir.Model,
    formats: Mapping[str, BlockFormat],
    *,
    accuracy_level: int = 4,
    rounding: Rounding = round_to_nearest,
) -> None:
    """Put weights into blocks, in place.

    Args:
        model: The graph.
        formats: The blocks of each layer, by the names of
            :func:`~edgepipe_export.quantization.weights.layers.find_layers`.
        accuracy_level: What ``MatMulNBits`` computes in: 4 is 8-bit activations in blocks, 1 is fp32.
        rounding: How numbers become codes.
    """
    graph = model.graph
    quantized: dict[str, WeightInitializers] = {}
    for use in find_uses(graph):
        name = use.weight.name or ""
        if name not in formats:
            continue
        if name not in quantized:
            quantized[name] = add_initializers(graph, name, rounding(name, use.array(), formats[name]))
        if use.is_table:
            replace_gather(graph, use.node, quantized[name])
        else:
            _replace_product(graph, use, quantized[name], accuracy_level)
    if any(node.domain == "com.microsoft" for node in graph):
        model.opset_imports.setdefault("com.microsoft", 1)
    RemoveUnusedNodesPass()(model)


def _replace_product(graph: onnx_ir.Graph, use: WeightUse, values: WeightInitializers, accuracy_level: int) -> None:
    node, weight = use.node, values.weight
    outputs = weight.codes.shape[0]
    last, bias = node, None
    if node.op_type == "Gemm":
        bias = node.inputs[2] if len(node.inputs) > 2 else None
    elif (added := added_bias(node)) is not None and shape_of(added[1]) == (outputs,):
        last, bias = added
    product = onnx_ir.node(
        "MatMulNBits",
        [node.inputs[0], values.codes, values.scales, values.zero_points, None, bias],
        domain="com.microsoft",
        attributes={
            "K": weight.inputs,
            "N": outputs,
            "bits": weight.block_format.bits,
            "block_size": weight.block_format.block_size,
            "accuracy_level": accuracy_level,
        },
        name=node.name,
    )
    before, after = last.outputs[0], product.outputs[0]
    after.shape, after.type, after.name = before.shape, before.type, before.name
    graph.insert_before(node, product)
    onnx_ir.convenience.replace_all_uses_with(before, after, replace_graph_outputs=True)
    for old in dict.fromkeys((last, node)):
        graph.remove(old, safe=True)
