"""Attention that is written out in products and a softmax becomes ONNX's operator ``Attention``.

onnxruntime computes the operator in one go, without the transposes before and behind it and without the whole matrix
of scores in memory (`python -m benchmarks.graphs.operators`). Its kernel on processors is there from 1.24 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.version_converter import convert_version

from edgepipe_export.tracing.graphs.graph_editing import NodeReplacement
from edgepipe_export.tracing.graphs.graph_matching import are_same_dimension, find_only_use, find_permutation

# The first with the operator; and the least that a graph may have to be raised to it, the exporter's own choice:
# whoever wants an older one has a reader that knows no newer.
_OPSET, _LEAST = 23, 20

# Masks add the lowest float32 there is to what may not be seen. Where a row may see nothing (a text of padding alone)
# that leaves equal scores, and equal weights. onnxruntime 1.32 takes that number, and no other, for "never", and gives
# zeros for such a row. Scores are too small to matter beside this one too.
_LOWEST = -1e38

_TO_HEADS, _TO_TRANSPOSED_HEADS, _LAST_TWO = [0, 2, 1, 3], [0, 2, 3, 1], [0, 1, 3, 2]


class FuseAttentionPass(InPlacePass):
    """Replace attention over heads of one width, whatever is added to its scores.

    What has another form stays: relative positions that are products of their own, a cache, weights that are an output
    of the graph.
    """

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Replace the nodes, and raise the opset where there were some; the graph has the shapes of its values."""
        graph = model.graph
        if graph.opset_imports[""] < _LEAST:
            return PassResult(model, modified=False)
        masks: dict[tuple[onnx_ir.Value, ...], onnx_ir.Value] = {}
        modified = False
        for node in [node for node in graph if node.op_type == "Softmax"]:
            match = _find_attention(node)  # now: what was replaced may be an input of this one
            if match is not None:
                _Fusion(graph, match, masks).replace()
                modified = True
        if modified:
            RemoveUnusedNodesPass()(model)
            if graph.opset_imports[""] < _OPSET:
                convert_version(model, _OPSET)
        return PassResult(model, modified)


@dataclass(frozen=True, slots=True)
class _Heads:
    """States that were split into heads.

    Attributes:
        states: float32[batch, length, heads * width].
        heads: How many.
        width: Of each.
        scale: What they are multiplied by.
    """

    states: onnx_ir.Value
    heads: int
    width: int
    scale: float


@dataclass(frozen=True, slots=True)
class _Scores:
    """What the softmax takes: ``scale * product + biases``."""

    product: onnx_ir.Node
    scale: float
    biases: tuple[onnx_ir.Value, ...]


@dataclass(frozen=True, slots=True)
class _Attention:
    """What was found.

    Attributes:
        query: Its heads.
        key: Its heads.
        value: Its heads.
        scale: What scores are multiplied by.
        biases: What is added to them: float32 that can be broadcast to [batch, heads, queries, keys].
        last: The node that joins the heads.
    """

    query: _Heads
    key: _Heads
    value: _Heads
    scale: float
    biases: tuple[onnx_ir.Value, ...]
    last: onnx_ir.Node


def _find_attention(softmax: onnx_ir.Node) -> _Attention | None:
    """The attention around a softmax; None where it has another form."""
    if softmax.attributes.get_int("axis", -1) not in (-1, 3):
        return None
    scores = _find_scores(softmax.inputs[0])
    context = find_only_use(softmax.outputs[0], "MatMul", 0)
    transposed = None if context is None else find_only_use(context.outputs[0], "Transpose", 0)
    last = None if transposed is None else find_only_use(transposed.outputs[0], "Reshape", 0)
    if scores is None or context is None or transposed is None or last is None:
        return None
    query, key, value = (
        _find_heads(scores.product.inputs[0], _TO_HEADS),
        _find_heads(scores.product.inputs[1], _TO_TRANSPOSED_HEADS),
        _find_heads(context.inputs[1], _TO_HEADS),
    )
    if query is None or key is None or value is None or find_permutation(transposed) != _TO_HEADS:
        return None
    joined, shape = last.outputs[0].shape, softmax.outputs[0].shape
    alike = query.heads == key.heads == value.heads and query.width == key.width and value.scale == 1.0
    if not alike or joined is None or len(joined) != 3 or joined[2] != value.heads * value.width or shape is None:
        return None
    if scores.biases and not _is_mask(scores.biases, shape, query.heads):
        return None
    return _Attention(query, key, value, scores.scale * query.scale * key.scale, scores.biases, last)


def _find_scores(value: onnx_ir.Value | None) -> _Scores | None:
    """The product that a value is made of by scaling and adding; None where it is used elsewhere too."""
    node = None if value is None else value.producer()
    if value is None or node is None or value.is_graph_output() or len(value.uses()) != 1:
        return None
    if node.op_type == "MatMul":
        return _Scores(node, 1.0, ())
    if node.op_type == "Add":
        for inner, bias in (node.inputs, reversed(node.inputs)):
            scores = _find_scores(inner)
            if scores is not None and bias is not None:
                return _Scores(scores.product, scores.scale, (*scores.biases, bias))
    elif (scaled := _find_scaled(node)) is not None:
        scores = _find_scores(scaled[0])
        if scores is not None and not scores.biases:
            return _Scores(scores.product, scores.scale * scaled[1], ())
    return None


def _find_scaled(node: onnx_ir.Node) -> tuple[onnx_ir.Value, float] | None:
    """What a node multiplies by a constant number, and the number."""
    if node.op_type not in ("Mul", "Div"):
        return None
    for place, factor in enumerate(node.inputs):
        tensor = None if factor is None or factor.is_graph_input() else factor.const_value
        other = node.inputs[1 - place]
        if tensor is None or tensor.size != 1 or other is None or (node.op_type == "Div" and place == 0):
            continue
        number = float(tensor.numpy().item())
        return other, 1 / number if node.op_type == "Div" else number
    return None


def _find_heads(value: onnx_ir.Value | None, permutation: Sequence[int]) -> _Heads | None:
    """The states that were split into heads and transposed to give a value."""
    node = None if value is None else value.producer()
    if node is None:
        return None
    if (scaled := _find_scaled(node)) is not None:
        heads = _find_heads(scaled[0], permutation)
        return None if heads is None else _Heads(heads.states, heads.heads, heads.width, heads.scale * scaled[1])
    given = find_permutation(node)
    if given == _LAST_TWO and permutation == _TO_TRANSPOSED_HEADS:
        return _find_heads(node.inputs[0], _TO_HEADS)
    split = None if given != permutation or node.inputs[0] is None else node.inputs[0].producer()
    if split is None or split.op_type != "Reshape":
        return None
    states, shape = split.inputs[0], split.outputs[0].shape
    if states is None or states.shape is None or shape is None or len(states.shape) != 3 or len(shape) != 4:
        return None
    heads_count, width = shape[2], shape[3]
    if not isinstance(heads_count, int) or not isinstance(width, int) or states.shape[2] != heads_count * width:
        return None
    # With the width as it was, nothing but the batch and the length could have changed places.
    same = all(are_same_dimension(one, other) for one, other in zip(states.shape[:2], shape[:2], strict=True))
    return _Heads(states, heads_count, width, 1.0) if same else None


def _is_mask(biases: Sequence[onnx_ir.Value], scores: onnx_ir.Shape, heads: int) -> bool:
    """Whether the operator takes the sum of biases, spread over all queries."""
    shapes = [bias.shape for bias in biases]
    if any(shape is None or len(shape) != 4 for shape in shapes) or len(scores) != 4:
        return False
    if any(bias.dtype != onnx_ir.DataType.FLOAT for bias in biases):
        return False
    axes = [[shape[axis] for shape in shapes if shape is not None] for axis in range(4)]
    spread = all(
        size == 1 or are_same_dimension(size, whole)
        for own, whole in zip(axes[:2], (scores[0], heads), strict=True)
        for size in own
    )
    full = any(are_same_dimension(size, scores[3]) for size in axes[3])
    fits = all(size == 1 or are_same_dimension(size, scores[axis]) for axis in (2, 3) for size in axes[axis])
    return spread and full and fits


class _Fusion(NodeReplacement):
    """One attention.

    Attributes:
        masks: The masks that there are, by what is added up in them: layers share theirs.
    """

    def __init__(
        self, graph: onnx_ir.Graph, match: _Attention, masks: dict[tuple[onnx_ir.Value, ...], onnx_ir.Value]
    ) -> None:
        super().__init__(graph, match.last)
        self.match = match
        self.masks = masks

    def replace(self) -> None:
        match = self.match
        inputs = [match.query.states, match.key.states, match.value.states]
        if match.biases:
            inputs.append(self._mask())
        heads = match.query.heads
        self.take_place(0, self.add("Attention", *inputs, q_num_heads=heads, kv_num_heads=heads, scale=match.scale))
        self.finish()

    def _mask(self) -> onnx_ir.Value:
        biases = self.match.biases
        if biases not in self.masks:
            mask = biases[0]
            for bias in biases[1:]:
                mask = self.add("Add", mask, bias)
            mask = self.add("Max", mask, self.number("lowest_score", _LOWEST))
            if all(bias.shape is not None and bias.shape[2] == 1 for bias in biases):
                mask = self._spread(mask)
            self.masks[biases] = mask
        return self.masks[biases]

    def _spread(self, mask: onnx_ir.Value) -> onnx_ir.Value:
        """A mask that is the same for all queries, for each of them: of its axes the operator spreads the first two."""
        queries = self.add("Shape", self.match.query.states, start=1, end=2)
        one = self.numbers("one", [1])
        shape = self.add("Concat", one, one, queries, one, axis=0)
        for value in (queries, shape):
            value.type = onnx_ir.TensorType(onnx_ir.DataType.INT64)
        return self.add("Expand", mask, shape)
