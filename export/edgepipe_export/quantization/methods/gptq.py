"""GPTQ: codes of 4-bit blocks that keep a product's outputs, rather than each number, near to what they were.

The weight's rows are coded one after the other, and what one lost is taken from those that are still to come, as far
as their inputs go with its own (Frantar et al. 2022, https://arxiv.org/abs/2210.17323, algorithm 1). Scales and zero
points are those of rounding to nearest, so that only codes differ. The inputs are those of the fp32 graph, all layers
at once: none sees what the layers before it lost.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir

from edgepipe_export.quantization.methods.activations import second_moments
from edgepipe_export.quantization.recipe import Order
from edgepipe_export.quantization.weights.blocks import Blocks, Coded
from edgepipe_export.quantization.weights.blockwise import Rounding, round_to_nearest
from edgepipe_export.quantization.weights.layers import find_layers, find_uses

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Inputs of a layer: its moments are their square in memory, and inverting them the cube in time.
WIDEST = 4096

# Of the mean of the diagonal, as in the paper.
_DAMPING = 0.01


def gptq_for(model: onnx_ir.Model, order: Order, layers: Collection[str]) -> tuple[Rounding, tuple[str, ...]]:
    """What rounds the weights of a graph by an order's batches.

    Args:
        model: The graph as it is to be coded: smoothed, if it is.
        order: Has the batches.
        layers: Names of the layers that get 4 bits.

    Returns:
        How numbers become codes, and the names of those of the layers that keep rounding to nearest: all without
        batches; else tables, weights that several products share, and layers of more than :data:`WIDEST` inputs.
    """
    inputs = {
        use.weight.name or "": use.activations.name or ""
        for use in find_uses(model.graph)
        if not use.is_table and use.array().shape[0] <= WIDEST
    }
    alone = {layer.name for layer in find_layers(model) if len(layer.products) == 1 and not layer.tables}
    chosen = [name for name in layers if name in inputs and name in alone] if order.batches else []
    if not chosen:
        return round_to_nearest, tuple(layers)
    moments = second_moments(model, order.source.parent, order.batches, {inputs[name] for name in chosen})

    def rounding(name: str, weight: NDArray[np.float32], blocks: Blocks) -> Coded:
        if name not in chosen:
            return round_to_nearest(name, weight, blocks)
        return round_by_moments(name, weight, blocks, moments[inputs[name]])

    return rounding, tuple(name for name in layers if name not in chosen)


def round_by_moments(name: str, weight: NDArray[np.float32], blocks: Blocks, moments: NDArray[np.float32]) -> Coded:
    """Code a weight so that its products with known inputs change little.

    Args:
        name: The layer's.
        weight: float32[inputs, outputs].
        blocks: How to cut it; of 4 bits.
        moments: Sum of the products of every two inputs, float32[inputs, inputs].

    Returns:
        Codes in the blocks of :func:`~edgepipe_export.quantization.weights.blockwise.round_to_nearest`; its very
        codes where the
        inputs were all zero or not finite.
    """
    nearest = round_to_nearest(name, weight, blocks)
    hessian = moments.astype(np.float64)
    damping = _DAMPING * np.diag(hessian).mean()
    if not 0 < damping < np.inf:
        return nearest
    # Inputs that are always zero get a diagonal by this too, and no part in anything else: they are rounded to nearest.
    hessian[np.diag_indices_from(hessian)] += damping
    # The upper factor: row i says how much of what row i of the weight lost later rows take.
    factor = np.linalg.cholesky(np.linalg.inv(hessian)).T

    size = nearest.blocks.block_size
    codes = _unpacked(nearest.codes).reshape(weight.shape[1], -1).T.copy()
    scales = nearest.scales.T.astype(np.float64)
    steps = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales != 0)
    zeros = np.full_like(scales, 8.0)
    if nearest.zero_points is not None:
        zeros = _unpacked(nearest.zero_points)[:, : len(scales)].T.astype(np.float64)

    left = weight.astype(np.float64)
    for block, start in enumerate(range(0, len(left), size)):
        end = min(start + size, len(left))
        losses = np.empty((end - start, weight.shape[1]))
        for row in range(start, end):
            # Halves up, as onnxruntime rounds.
            code = np.clip(np.floor(left[row] * steps[block] + zeros[block] + 0.5), 0, 15)
            codes[row] = code
            losses[row - start] = (left[row] - (code - zeros[block]) * scales[block]) / factor[row, row]
            left[row + 1 : end] -= np.outer(factor[row, row + 1 : end], losses[row - start])
        left[end:] -= factor[start:end, end:].T @ losses
    return replace(nearest, codes=_packed(np.ascontiguousarray(codes.T)).reshape(nearest.codes.shape))


def _unpacked(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two numbers of each byte, the lower half first: uint8[..., 2 * bytes]."""
    return np.stack([codes & 15, codes >> 4], -1).reshape(*codes.shape[:-1], -1)


def _packed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8)
