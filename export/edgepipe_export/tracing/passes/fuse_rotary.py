"""Rotary position embeddings (Su et al. 2021) of a decoder's queries and keys become onnxruntime's ``RotaryEmbedding``.

Models turn the halves of each head: ``x * cos + concat(-x2, x1) * sin``. Written out that is six operators and two
transposes for queries and as many for keys, in each layer. The operator takes tables with a row for each position. A
table here has the cosines that the graph has computed for the tokens at hand, and their rows are counted: so scaled
positions and those of a call remain the model's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgepipe_export.tracing.graphs.graph_editing import NodeReplacement, add_constant
from edgepipe_export.tracing.graphs.graph_matching import (
    are_same_dimension,
    find_only_use,
    find_permutation,
    find_producer,
    read_integer,
)

_DOMAIN = "com.microsoft"
_TO_HEADS = [0, 2, 1, 3]


class FuseRotaryPass(InPlacePass):
    """Replace the turning of whole heads by halves, in graphs that have operators of onnxruntime's already.

    What has another form stays: heads that are turned in part, or by pairs of neighbors.
    """

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Replace the nodes; the graph has the shapes of its values."""
        graph = model.graph
        if not any(node.domain == _DOMAIN for node in graph):
            return PassResult(model, modified=False)
        tables: dict[onnx_ir.Value, onnx_ir.Value] = {}
        modified = False
        for node in [node for node in graph if node.op_type == "Add"]:
            match = _find_rotation(node)
            if match is not None:
                _RotaryFusion(graph, match, tables).replace()
                modified = True
        if modified:
            graph.sort()  # tables stand before the first node that is replaced, which another may come before
            RemoveUnusedNodesPass()(model)
        return PassResult(model, modified)


@dataclass(frozen=True, slots=True)
class _Rotation:
    """What was found.

    Attributes:
        heads: What is turned, float32[batch, heads, new, width].
        cosines: float32[batch or 1, new, width], the second half of the width like the first.
        sines: Likewise.
        last: The node that gives the result.
    """

    heads: onnx_ir.Value
    cosines: onnx_ir.Value
    sines: onnx_ir.Value
    last: onnx_ir.Node


def _find_rotation(add: onnx_ir.Node) -> _Rotation | None:
    """The rotation that ends in a sum; None where it is something else."""
    products = [None if value is None else value.producer() for value in add.inputs]
    for straight, crossed in (products, products[::-1]):
        if straight is None or crossed is None or straight.op_type != "Mul" or crossed.op_type != "Mul":
            return None
        for heads, table in (straight.inputs, straight.inputs[::-1]):
            for swapped, other in (crossed.inputs, crossed.inputs[::-1]):
                if heads is None or not _is_swapped(swapped, heads):
                    continue
                cosines, sines = _find_table(table, "Cos"), _find_table(other, "Sin")
                if cosines is not None and sines is not None and _fits(heads, cosines) and _fits(heads, sines):
                    return _Rotation(heads, cosines, sines, add)
    return None


def _is_swapped(value: onnx_ir.Value | None, heads: onnx_ir.Value) -> bool:
    """Whether a value is the second half of each head, negated, and the first."""
    node = find_producer(value, "Concat")
    if node is None or len(node.inputs) != 2 or node.attributes.get_int("axis", 0) not in (-1, 3):
        return False
    negated = find_producer(node.inputs[0], "Neg")
    width = None if heads.shape is None or len(heads.shape) != 4 else heads.shape[3]
    if negated is None or not isinstance(width, int) or width % 2:
        return False
    half = width // 2
    return _is_slice(negated.inputs[0], heads, half, width) and _is_slice(node.inputs[1], heads, 0, half)


def _is_slice(value: onnx_ir.Value | None, heads: onnx_ir.Value, begin: int, end: int) -> bool:
    """Whether a value is a part of each head; the last one may end behind it, as ``[half:]`` does."""
    node = find_producer(value, "Slice")
    if node is None or node.inputs[0] is not heads or len(node.inputs) < 4 or heads.shape is None:
        return False
    first, last, axis, step = [*(read_integer(each) for each in node.inputs[1:]), 1][:4]
    ends = last is not None and (last == end or last >= end == heads.shape[3])
    return first == begin and ends and axis in (-1, 3) and step == 1


def _find_table(value: onnx_ir.Value | None, function: str) -> onnx_ir.Value | None:
    """The table, float32[batch or 1, new, width], that a value spreads over the heads; None where it is another one."""
    node = find_producer(value, "Unsqueeze")
    if node is None or read_integer(node.inputs[1]) != 1:
        return None
    table = node.inputs[0]
    return table if _find_angles(table, function) is not None else None


def _find_angles(table: onnx_ir.Value | None, function: str) -> onnx_ir.Value | None:
    """The angles of one half, of which a table has the cosines or sines twice; perhaps times a number."""
    node = None if table is None else table.producer()
    if node is not None and node.op_type == "Mul":
        for value, factor in (node.inputs, node.inputs[::-1]):
            if factor is not None and factor.const_value is not None and factor.const_value.size == 1:
                return _find_angles(value, function)
    if node is None or node.op_type != function:
        return None
    both = find_producer(node.inputs[0], "Concat")
    if both is None or len(both.inputs) != 2 or both.inputs[0] is not both.inputs[1]:
        return None
    return both.inputs[0] if both.attributes.get_int("axis", 0) in (-1, 2) else None


def _fits(heads: onnx_ir.Value, table: onnx_ir.Value) -> bool:
    shape, own = heads.shape, table.shape
    if shape is None or own is None or len(own) != 3 or own[2] != shape[3]:
        return False
    return (own[0] == 1 or are_same_dimension(own[0], shape[0])) and are_same_dimension(own[1], shape[2])


class _RotaryFusion(NodeReplacement):
    """One rotation.

    Attributes:
        tables: What was made of the cosines and sines before, and the rows to read of them: layers share theirs.
    """

    def __init__(self, graph: onnx_ir.Graph, match: _Rotation, tables: dict[onnx_ir.Value, onnx_ir.Value]) -> None:
        transposed = find_only_use(match.last.outputs[0], "Transpose", 0)
        joined = None if transposed is None else find_only_use(transposed.outputs[0], "Reshape", 0)
        self._split = _find_split(match.heads) if joined is not None and _joins(transposed, joined) else None
        super().__init__(graph, joined if self._split is not None and joined is not None else match.last)
        self.match = match
        self.tables = tables

    def replace(self) -> None:
        match = self.match
        cosines, sines = self._table(match.cosines), self._table(match.sines)
        states = match.heads if self._split is None else self._flatten(self._split)
        rows = self._rows(match.cosines)
        turned = self.add("RotaryEmbedding", states, rows, cosines, sines, domain=_DOMAIN)
        self.take_place(0, turned)
        self.finish()

    def _flatten(self, split: onnx_ir.Value) -> onnx_ir.Value:
        """The heads of each token behind each other: the operator needs no transpose then."""
        flat = _find_flat(split)
        if flat is not None:
            return flat
        shape = split.shape
        assert shape is not None
        width = math.prod(each for each in shape[2:] if isinstance(each, int))
        return self.add("Reshape", split, self.numbers(f"rotary_flat_{width}", [0, 0, width]))

    def _table(self, table: onnx_ir.Value) -> onnx_ir.Value:
        """The first half of a table, float32[rows, width / 2]."""
        if table not in self.tables:
            shape = table.shape
            assert shape is not None
            assert isinstance(shape[2], int)
            half = shape[2] // 2
            cut = self.add(
                "Slice", table, self.numbers("rotary_begin", [0]), self.numbers(f"rotary_half_{half}", [half]),
                self.numbers("rotary_axis", [2]),
            )  # fmt: skip
            self.tables[table] = self.add("Reshape", cut, self.numbers(f"rotary_rows_{half}", [-1, half]))
        return self.tables[table]

    def _rows(self, table: onnx_ir.Value) -> onnx_ir.Value:
        """The row of each token, int64[batch, new]; or of the first one alone where all texts share their rows."""
        shape = table.shape
        assert shape is not None
        if shape[0] == 1:
            return self.numbers("rotary_first", [0])
        key = self.tables[table]
        if key not in self.tables:
            sizes = self.add("Shape", table, start=0, end=2)
            count = self.add("ReduceProd", sizes, keepdims=0)
            zero = add_constant(self.graph, "rotary_zero", np.array(0, np.int64))
            one = add_constant(self.graph, "rotary_one", np.array(1, np.int64))
            numbers = self.add("Range", zero, count, one)
            rows = self.add("Reshape", numbers, sizes)
            for value in (sizes, count, numbers, rows):
                value.type = onnx_ir.TensorType(onnx_ir.DataType.INT64)
            self.tables[key] = rows
        return self.tables[key]


def _joins(transposed: onnx_ir.Node | None, joined: onnx_ir.Node) -> bool:
    """Whether heads are put behind each other again: [batch, heads, new, width] to [batch, new, heads * width]."""
    before, after = joined.inputs[0], joined.outputs[0]
    if transposed is None or find_permutation(transposed) != _TO_HEADS or before is None:
        return False
    if before.shape is None or after.shape is None or len(before.shape) != 4 or len(after.shape) != 3:
        return False
    heads, width = before.shape[2], before.shape[3]
    whole = isinstance(heads, int) and isinstance(width, int) and after.shape[2] == heads * width
    return whole and all(
        are_same_dimension(one, other) for one, other in zip(before.shape[:2], after.shape[:2], strict=True)
    )


def _find_split(heads: onnx_ir.Value) -> onnx_ir.Value | None:
    """The heads before they were transposed, float32[batch, new, heads, width]."""
    transposed = find_producer(heads, "Transpose")
    if transposed is None or find_permutation(transposed) != _TO_HEADS:
        return None
    split = transposed.inputs[0]
    shape = None if split is None else split.shape
    known = shape is not None and len(shape) == 4 and isinstance(shape[2], int) and isinstance(shape[3], int)
    return split if known else None


def _find_flat(split: onnx_ir.Value) -> onnx_ir.Value | None:
    """The states that were split into heads, float32[batch, new, heads * width]."""
    node, shape = find_producer(split, "Reshape"), split.shape
    states = None if node is None else node.inputs[0]
    if states is None or states.shape is None or shape is None or len(states.shape) != 3:
        return None
    same = all(are_same_dimension(one, other) for one, other in zip(states.shape[:2], shape[:2], strict=True))
    return states if same and states.shape[2] == shape[2] * shape[3] else None
