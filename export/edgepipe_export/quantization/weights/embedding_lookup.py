"""Lookups in a quantized table, in standard operators alone.

The rows that a text needs are few, so dequantizing them costs next to nothing, and the table can be the one that
``MatMulNBits`` multiplies by: a head tied to its embedding needs no second copy. ``GatherBlockQuantized`` would be one
node instead of six, but takes such tables from onnxruntime 1.23 on only.
"""

from __future__ import annotations

import onnx_ir

from edgepipe_export.quantization.weights.blocks import WeightInitializers
from edgepipe_export.tracing.graph_editing import NodeReplacement


def replace_gather(graph: onnx_ir.Graph, gather: onnx_ir.Node, table: WeightInitializers) -> None:
    """Replace a Gather of rows by one in a quantized table, in place.

    Args:
        graph: The graph.
        gather: Its node; the rank of its indices must be known.
        table: The table, with a row for each output.
    """
    _QuantizedGather(graph, gather, table).replace()


class _QuantizedGather(NodeReplacement):
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
