"""Weights in blocks, each with a scale of its own: ``MatMulNBits`` for products, and lookups in the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxruntime.capi._pybind_state import quantize_matmul_4bits, quantize_matmul_8bits

from edgepipe_export.quantization.weights.blocks import Blocks, Coded, Stored, store
from edgepipe_export.quantization.weights.embedding_lookup import look_up
from edgepipe_export.quantization.weights.layers import Use, added_bias, find_uses, shape_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Makes the weight of a layer, float32[inputs, outputs], into blocks.
Rounding = Callable[[str, "NDArray[np.float32]", Blocks], Coded]

_CODERS: Mapping[int, Callable[..., Any]] = {4: quantize_matmul_4bits, 8: quantize_matmul_8bits}


def round_to_nearest(name: str, weight: NDArray[np.float32], blocks: Blocks) -> Coded:
    """Code every number by the nearest there is, with onnxruntime's own kernels."""
    inputs, outputs = weight.shape
    blocks = blocks.fitted(inputs)
    count = -(-inputs // blocks.block_size)
    codes = np.zeros((outputs, count, blocks.block_size * blocks.bits // 8), np.uint8)
    scales = np.zeros(outputs * count, np.float32)
    zero_points = np.zeros((outputs, -(-count * blocks.bits // 8)), np.uint8)
    _CODERS[blocks.bits](
        codes,
        np.ascontiguousarray(weight),
        scales,
        zero_points.reshape(-1),
        blocks.block_size,
        outputs,
        inputs,
        blocks.symmetric,
    )
    return Coded(codes, scales.reshape(outputs, count), None if blocks.symmetric else zero_points, inputs, blocks)


def code_weights(
    model: onnx_ir.Model,
    blocks_of: Mapping[str, Blocks],
    *,
    accuracy_level: int = 4,
    rounding: Rounding = round_to_nearest,
) -> None:
    """Put weights into blocks, in place.

    Args:
        model: The graph.
        blocks_of: Names of layers and how to cut their weights; see
            :func:`~edgepipe_export.quantization.weights.layers.find_layers`.
        accuracy_level: What ``MatMulNBits`` computes in: 4 is 8-bit activations in blocks, 1 is fp32.
        rounding: How numbers become codes.
    """
    graph = model.graph
    stored: dict[str, Stored] = {}
    for use in find_uses(graph):
        name = use.weight.name or ""
        if name not in blocks_of:
            continue
        if name not in stored:
            stored[name] = store(graph, name, rounding(name, use.array(), blocks_of[name]))
        if use.is_table:
            look_up(graph, use.node, stored[name])
        else:
            _multiply(graph, use, stored[name], accuracy_level)
    if any(node.domain == "com.microsoft" for node in graph):
        model.opset_imports.setdefault("com.microsoft", 1)
    RemoveUnusedNodesPass()(model)


def _multiply(graph: onnx_ir.Graph, use: Use, weight: Stored, accuracy_level: int) -> None:
    node, coded = use.node, weight.coded
    outputs = coded.codes.shape[0]
    last, bias = node, None
    if node.op_type == "Gemm":
        bias = node.inputs[2] if len(node.inputs) > 2 else None
    elif (added := added_bias(node)) is not None and shape_of(added[1]) == (outputs,):
        last, bias = added
    product = onnx_ir.node(
        "MatMulNBits",
        [node.inputs[0], weight.codes, weight.scales, weight.zero_points, None, bias],
        domain="com.microsoft",
        attributes={
            "K": coded.inputs,
            "N": outputs,
            "bits": coded.blocks.bits,
            "block_size": coded.blocks.block_size,
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
