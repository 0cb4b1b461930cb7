"""Bias correction: rounding a weight moves the mean of what its product gives, and the bias takes that back.

The mean of a product's inputs, multiplied with what rounding took from the weight, is what every channel of its output
has lost on average (Nagel et al. 2019, Data-Free Quantization, https://arxiv.org/abs/1906.04721, section 4.2).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir

from edgepipe_export.quantization.methods.activations import channel_means
from edgepipe_export.quantization.weights.layers import WeightUse, added_bias, find_uses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe_export.quantization.methods.activations import Batches


def correct_biases(
    model: onnx_ir.Model,
    folder: Path,
    batches: Batches,
    products: Collection[str],
    *,
    per_channel: bool,
    reduce_range: bool,
) -> None:
    """Correct the biases of products whose weights onnxruntime is to round to int8, in place.

    A product without a bias, or whose bias something else reads too, is left alone.

    Args:
        model: The graph, its weights not rounded yet.
        folder: Where there is room for it.
        batches: Inputs to run it on.
        products: Names of the nodes.
        per_channel: Whether every output channel of a weight gets a scale.
        reduce_range: Whether weights keep to 7 bits.
    """
    uses = [use for use in find_uses(model.graph) if not use.is_table and use.node.name in products]
    biases = {id(use): bias for use in uses if (bias := _own_bias(use)) is not None}
    corrected = [use for use in uses if id(use) in biases]
    if not corrected:
        return
    means = channel_means(model, folder, batches, {use.activations.name or "" for use in corrected})
    for use in corrected:
        weight, bias = use.array(), biases[id(use)]
        assert bias.const_value is not None
        lost = means[use.activations.name or ""] @ (weight - round_weight(weight, per_channel, reduce_range))
        bias.const_value = onnx_ir.tensor((bias.const_value.numpy() + lost).astype(np.float32), name=bias.name)


def round_weight(weight: NDArray[np.float32], per_channel: bool, reduce_range: bool) -> NDArray[np.float32]:
    """A weight, float32[inputs, outputs], as onnxruntime's quantizer rounds it: to int8 around 0."""
    largest = np.abs(weight).max(0 if per_channel else None)
    most = 64 if reduce_range else 127
    scale = np.where(largest > 0, largest / most, 1).astype(np.float32)
    rounded: NDArray[np.float32] = np.clip(np.rint(weight / scale), -most, most) * scale
    return rounded


def _own_bias(use: WeightUse) -> onnx_ir.Value | None:
    if use.node.op_type == "Gemm":
        bias = use.node.inputs[2] if len(use.node.inputs) > 2 else None
    else:
        added = added_bias(use.node)
        bias = None if added is None else added[1]
    if bias is None or bias.const_value is None or bias.is_graph_input() or len(list(bias.uses())) > 1:
        return None
    return bias
