"""A weight cut into blocks: as arrays, and as initializers of a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx_ir

from edgepipe_export.tracing.graph_editing import add_constant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SMALLEST_BLOCK = 16


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """The blocks of a quantized weight.

    Attributes:
        bits: 4 or 8.
        block_size: Numbers that share a scale; 16, 32, 64, 128 or 256.
        symmetric: One zero point for all blocks instead of one each.
    """

    bits: int
    block_size: int
    symmetric: bool = True

    def shrink_to(self, inputs: int) -> BlockFormat:
        """The same with blocks no longer than rows of that many inputs."""
        size = self.block_size
        while size > _SMALLEST_BLOCK and size // 2 >= inputs:
            size //= 2
        return BlockFormat(self.bits, size, self.symmetric)


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """A weight in blocks.

    Attributes:
        codes: uint8[outputs, blocks, block * bits / 8], the lower half of a byte first.
        scales: float32[outputs, blocks].
        zero_points: uint8[outputs, blocks * bits / 8, rounded up], or None where each is half of the range.
        inputs: Length of a row before it was cut into blocks.
        block_format: Its blocks.
    """

    codes: NDArray[np.uint8]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.uint8] | None
    inputs: int
    block_format: BlockFormat


@dataclass(frozen=True, slots=True)
class WeightInitializers:
    """A quantized weight in a graph.

    Attributes:
        weight: The weight.
        codes: Its codes.
        scales: Its scales.
        zero_points: Its zero points, where blocks have their own.
    """

    weight: QuantizedWeight
    codes: onnx_ir.Value
    scales: onnx_ir.Value
    zero_points: onnx_ir.Value | None


def add_initializers(graph: onnx_ir.Graph, name: str, weight: QuantizedWeight) -> WeightInitializers:
    """Add a quantized weight to a graph, under names that begin with `name`."""

    def add(array: NDArray[Any], suffix: str) -> onnx_ir.Value:
        return add_constant(graph, f"{name}_{suffix}", array)

    return WeightInitializers(
        weight,
        add(weight.codes, f"q{weight.block_format.bits}"),
        add(weight.scales, "scales"),
        None if weight.zero_points is None else add(weight.zero_points, "zero_points"),
    )
