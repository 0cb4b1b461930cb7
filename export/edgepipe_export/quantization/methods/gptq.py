"""GPTQ: 4-bit codes that keep a product's outputs, rather than each number, near to what they were.

The weight's rows are quantized one after the other. The error of one is taken from those that are still to come, as far
as their inputs correlate with its own (Frantar et al. 2022, https://arxiv.org/abs/2210.17323, algorithm 1). Scales and
zero points are those of rounding to nearest, so only codes differ. The inputs are those of the fp32 graph for all
layers: none sees the errors of the layers before it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir

from edgepipe_export.quantization.methods.activations import input_hessians
from edgepipe_export.quantization.recipe import QuantizationJob
from edgepipe_export.quantization.weights.blockwise import BlockFormat, QuantizedWeight, Rounding, round_to_nearest
from edgepipe_export.quantization.weights.layers import find_layers, find_uses

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Inputs of a layer: its Hessian is their square in memory, and inverting it the cube in time.
MAX_INPUTS = 4096

# Of the mean of the diagonal, as in the paper.
_DAMPING = 0.01


def make_gptq_rounding(
    model: onnx_ir.Model, job: QuantizationJob, layers: Collection[str]
) -> tuple[Rounding, tuple[str, ...]]:
    """A rounding of the weights of a graph by a job's batches.

    Args:
        model: The graph as it is to be quantized: smoothed, if it is.
        job: Has the batches.
        layers: Names of the layers that get 4 bits.

    Returns:
        The rounding, and the names of the layers that are rounded to nearest: without batches all; else tables, weights
        that several products share, and layers of more than :data:`MAX_INPUTS` inputs.
    """
    inputs = {
        use.weight.name or "": use.activations.name or ""
        for use in find_uses(model.graph)
        if not use.is_table and use.array().shape[0] <= MAX_INPUTS
    }
    single_use = {layer.name for layer in find_layers(model) if len(layer.products) == 1 and not layer.tables}
    chosen = [name for name in layers if name in inputs and name in single_use] if job.batches else []
    if not chosen:
        return round_to_nearest, tuple(layers)
    hessians = input_hessians(model, job.source.parent, job.batches, {inputs[name] for name in chosen})

    def rounding(name: str, weight: NDArray[np.float32], block_format: BlockFormat) -> QuantizedWeight:
        if name not in chosen:
            return round_to_nearest(name, weight, block_format)
        return round_by_gptq(weight, block_format, hessians[inputs[name]])

    return rounding, tuple(name for name in layers if name not in chosen)


def round_by_gptq(
    weight: NDArray[np.float32], block_format: BlockFormat, hessian: NDArray[np.floating[Any]]
) -> QuantizedWeight:
    """Quantize a weight so that its products with known inputs change little.

    Args:
        weight: float32[inputs, outputs].
        block_format: Its blocks, of 4 bits.
        hessian: Sum of the products of every two inputs, float32[inputs, inputs].

    Returns:
        Codes in the blocks of :func:`~edgepipe_export.quantization.weights.blockwise.round_to_nearest`; the same codes
        where the inputs were all zero or not finite.
    """
    nearest = round_to_nearest("", weight, block_format)
    hessian = hessian.astype(np.float64)
    damping = _DAMPING * np.diag(hessian).mean()
    if not 0 < damping < np.inf:
        return nearest
    # Inputs that are always zero get a diagonal by this too, and no part in anything else: they are rounded to nearest.
    hessian[np.diag_indices_from(hessian)] += damping
    # The upper factor: row i says how much of the error of row i of the weight later rows take.
    factor = np.linalg.cholesky(np.linalg.inv(hessian)).T

    size = nearest.block_format.block_size
    codes = _unpack(nearest.codes).reshape(weight.shape[1], -1).T.copy()
    scales = nearest.scales.T.astype(np.float64)
    steps = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales != 0)
    zeros = np.full_like(scales, 8.0)
    if nearest.zero_points is not None:
        zeros = _unpack(nearest.zero_points)[:, : len(scales)].T.astype(np.float64)

    remaining = weight.astype(np.float64)
    for block, start in enumerate(range(0, len(remaining), size)):
        end = min(start + size, len(remaining))
        errors = np.empty((end - start, weight.shape[1]))
        for row in range(start, end):
            # Halves up, as onnxruntime rounds.
            code = np.clip(np.floor(remaining[row] * steps[block] + zeros[block] + 0.5), 0, 15)
            codes[row] = code
            errors[row - start] = (remaining[row] - (code - zeros[block]) * scales[block]) / factor[row, row]
            remaining[row + 1 : end] -= np.outer(factor[row, row + 1 : end], errors[row - start])
        remaining[end:] -= factor[start:end, end:].T @ errors
    return replace(nearest, codes=_pack(np.ascontiguousarray(codes.T)).reshape(nearest.codes.shape))


def _unpack(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two numbers of each byte, the lower half first: uint8[..., 2 * bytes]."""
    return np.stack([codes & 15, codes >> 4], -1).reshape(*codes.shape[:-1], -1)


def _pack(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8)
