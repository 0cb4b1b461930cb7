"""Weights in blocks, each with a scale of its own: ``MatMulNBits`` for products, and lookups in the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxruntime.capi._pybind_state import quantize_matmul_4bits, quantize_matmul_8bits

from edgepipe_export.quantization.weights.layers import WeightUse, added_bias, find_uses, shape_of
from edgepipe_export.tracing.graphs.graph_editing import NodeReplacement, add_constant

if TYPE_CHECKING:
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
            _QuantizedGather(graph, use.node, quantized[name]).replace()
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


class _QuantizedGather(NodeReplacement):
    """A Gather of rows in a quantized table, which has a row for each output, in standard operators alone.

    The rows that a text needs are few, so dequantizing them costs next to nothing, and the table can be the one that
    ``MatMulNBits`` multiplies by: a head tied to its embedding needs no second copy. ``GatherBlockQuantized`` would be
    one node instead of six, but takes such tables from onnxruntime 1.23 on only.
    """

    def __init__(self, graph: onnx_ir.Graph, gather: onnx_ir.Node, table: WeightInitializers) -> None:
        ids = gather.inputs[1]
        assert ids is not None
        assert ids.shape is not None
        super().__init__(graph, gather)
        self.table = table
        self.ids = ids
        self.rank = len(ids.shape)

    def replace(self) -> None:
        weight = self.table.weight
        count, size = weight.scales.shape[1], weight.block_format.block_size
        codes = self._numbers(self.table.codes, self.rank + 1, size)
        zero = self._zero_points(count)
        scales = self.add("Unsqueeze", self._rows(self.table.scales), self._last)
        numbers = self.add("Mul", self.add("Sub", codes, zero), scales)
        numbers = self._join_axes(numbers, self.rank, count * size)
        self.take_place(0, self._cut(numbers, weight.inputs, count * size))
        self.finish()

    def _zero_points(self, count: int) -> onnx_ir.Value:
        bits = self.table.weight.block_format.bits
        if self.table.zero_points is None:
            return self.number(f"middle_of_{bits}_bits", 2.0 ** (bits - 1))
        length = count if bits == 8 else count + count % 2
        zero = self._cut(self._numbers(self.table.zero_points, self.rank, length), count, length)
        return self.add("Unsqueeze", zero, self._last)

    def _numbers(self, codes: onnx_ir.Value, leading: int, length: int) -> onnx_ir.Value:
        """Rows of codes as float32[..., length], `leading` axes before."""
        whole = self.add("Cast", self._rows(codes), to=onnx_ir.DataType.FLOAT.value)
        if self.table.weight.block_format.bits == 8:
            return whole
        # By arithmetic, which every provider has, where few can shift bytes.
        high = self.add("Floor", self.add("Mul", whole, self.number("one_sixteenth", 1 / 16)))
        low = self.add("Sub", whole, self.add("Mul", high, self.number("sixteen", 16)))
        halves = [self.add("Unsqueeze", half, self._last) for half in (low, high)]
        return self._join_axes(self.add("Concat", *halves, axis=-1), leading, length)

    def _rows(self, table: onnx_ir.Value) -> onnx_ir.Value:
        rows = self.add("Gather", table, self.ids, axis=0)
        rows.type = table.type
        return rows

    def _join_axes(self, value: onnx_ir.Value, leading: int, length: int) -> onnx_ir.Value:
        """All axes but the leading ones joined; 0 keeps an axis as it is."""
        shape = self.numbers(f"join_after_{leading}_to_{length}", [0] * leading + [length])
        return self.add("Reshape", value, shape)

    def _cut(self, value: onnx_ir.Value, length: int, given: int) -> onnx_ir.Value:
        if length == given:
            return value
        start, end = (self.numbers(f"axis_at_{at}", [at]) for at in (0, length))
        return self.add("Slice", value, start, end, self._last)

    @property
    def _last(self) -> onnx_ir.Value:
        return self.numbers("last_axis", [-1])
