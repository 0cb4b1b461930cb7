"""Lookups in a coded table, in standard operators alone.

The rows that a text needs are few, so decoding them costs next to nothing, and the table can be the one that
``MatMulNBits`` multiplies by: a head tied to its embedding needs no second copy. ``GatherBlockQuantized`` would be one
node instead of six, but takes such tables from onnxruntime 1.23 on only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir

from edgepipe_export.quantize.coded import Stored, constant


def look_up(graph: onnx_ir.Graph, gather: onnx_ir.Node, table: Stored) -> None:
    """Replace a Gather of rows by one in a coded table, in place.

    Args:
        graph: The graph.
        gather: Its node; the rank of its indices must be known.
        table: The table, with a row for each output.
    """
    _Lookup(graph, gather, table).replace()


class _Lookup:
    def __init__(self, graph: onnx_ir.Graph, gather: onnx_ir.Node, table: Stored) -> None:
        ids = gather.inputs[1]
        assert ids is not None
        assert ids.shape is not None
        self.graph = graph
        self.gather = gather
        self.table = table
        self.ids = ids
        self.rank = len(ids.shape)
        self.nodes: list[onnx_ir.Node] = []

    def replace(self) -> None:
        coded = self.table.coded
        count, size = coded.scales.shape[1], coded.blocks.block_size
        codes = self._numbers(self.table.codes, self.rank + 1, size)
        zero = self._zero_points(count)
        scales = self._add("Unsqueeze", self._rows(self.table.scales), self._last)
        numbers = self._add("Mul", self._add("Sub", codes, zero), scales)
        numbers = self._reshaped(numbers, self.rank, count * size)
        self._take_place(self._cut(numbers, coded.inputs, count * size))

    def _zero_points(self, count: int) -> onnx_ir.Value:
        bits = self.table.coded.blocks.bits
        if self.table.zero_points is None:
            return constant(self.graph, f"middle_of_{bits}_bits", np.array(2.0 ** (bits - 1), np.float32))
        length = count if bits == 8 else count + count % 2
        zero = self._cut(self._numbers(self.table.zero_points, self.rank, length), count, length)
        return self._add("Unsqueeze", zero, self._last)

    def _numbers(self, codes: onnx_ir.Value, leading: int, length: int) -> onnx_ir.Value:
        """Rows of codes as float32[..., length], `leading` axes before."""
        whole = self._add("Cast", self._rows(codes), to=onnx_ir.DataType.FLOAT.value)
        if self.table.coded.blocks.bits == 8:
            return whole
        # By arithmetic, which every provider has, where few can shift bytes.
        high = self._add("Floor", self._add("Mul", whole, self._number("one_sixteenth", 1 / 16)))
        low = self._add("Sub", whole, self._add("Mul", high, self._number("sixteen", 16)))
        halves = [self._add("Unsqueeze", half, self._last) for half in (low, high)]
        return self._reshaped(self._add("Concat", *halves, axis=-1), leading, length)

    def _rows(self, table: onnx_ir.Value) -> onnx_ir.Value:
        rows = self._add("Gather", table, self.ids, axis=0)
        rows.type = table.type
        return rows

    def _reshaped(self, value: onnx_ir.Value, leading: int, length: int) -> onnx_ir.Value:
        """All axes but the leading ones joined; 0 keeps an axis as it is."""
        shape = np.array([0] * leading + [length], np.int64)
        return self._add("Reshape", value, constant(self.graph, f"join_after_{leading}_to_{length}", shape))

    def _cut(self, value: onnx_ir.Value, length: int, given: int) -> onnx_ir.Value:
        if length == given:
            return value
        start, end = (constant(self.graph, f"axis_at_{at}", np.array([at], np.int64)) for at in (0, length))
        return self._add("Slice", value, start, end, self._last)

    @property
    def _last(self) -> onnx_ir.Value:
        return constant(self.graph, "last_axis", np.array([-1], np.int64))

    def _number(self, name: str, number: float) -> onnx_ir.Value:
        return constant(self.graph, name, np.array(number, np.float32))

    def _add(self, operator: str, *inputs: onnx_ir.Value, **attributes: Any) -> onnx_ir.Value:
        node = onnx_ir.node(operator, inputs, attributes=attributes, name=f"{self.gather.name}.{len(self.nodes)}")
        node.outputs[0].name = node.name
        node.outputs[0].type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
        self.nodes.append(node)
        return node.outputs[0]

    def _take_place(self, rows: onnx_ir.Value) -> None:
        before = self.gather.outputs[0]
        rows.shape, rows.type, rows.name = before.shape, before.type, before.name
        self.graph.insert_before(self.gather, self.nodes)
        onnx_ir.convenience.replace_all_uses_with(before, rows, replace_graph_outputs=True)
        self.graph.remove(self.gather, safe=True)
