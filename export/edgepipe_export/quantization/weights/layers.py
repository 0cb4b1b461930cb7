"""The layers of a graph whose weights can be quantized: products with a constant matrix, and tables of embeddings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir

from edgepipe.bundle.layout import PAST

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PRODUCTS = ("MatMul", "Gemm")
TABLES = ("Gather",)


@dataclass(frozen=True, slots=True)
class Layer:
    """One weight and the nodes that use it: an embedding and a head that is tied to it are one layer.

    Where a recipe quantizes operators without weights too, all of one type are a layer:
    :mod:`~edgepipe_export.quantization.recipes.int8_static`.

    Attributes:
        name: Name of the weight in the graph, or the operators' type; what :attr:`QuantizationJob.precisions` goes by.
        label: What to call it in a report: the module's name in the checkpoint where it can be told.
        products: Names of the nodes that multiply by it.
        tables: Names of the nodes that look rows up in it.
        size: How many numbers it has.
        operators: Names of the nodes that have no weight.
    """

    name: str
    label: str
    products: tuple[str, ...]
    tables: tuple[str, ...]
    size: int
    operators: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of all its nodes."""
        return self.products + self.tables + self.operators


@dataclass(frozen=True, slots=True)
class WeightUse:
    """A node that uses a weight.

    Attributes:
        node: The node: MatMul, Gemm or Gather.
        weight: The initializer.
        transposed: Whether the weight is [outputs, inputs] rather than [inputs, outputs].
    """

    node: onnx_ir.Node
    weight: onnx_ir.Value
    transposed: bool = False

    @property
    def is_table(self) -> bool:
        """Whether rows are looked up instead of multiplied."""
        return self.node.op_type in TABLES

    @property
    def activations(self) -> onnx_ir.Value:
        """What a product multiplies the weight by."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    def array(self) -> NDArray[np.float32]:
        """The weight as float32[inputs, outputs]; each row of a table is an output."""
        assert self.weight.const_value is not None
        array: NDArray[np.float32] = self.weight.const_value.numpy()
        return array.T if self.transposed or self.is_table else array


def find_uses(graph: onnx_ir.Graph) -> list[WeightUse]:
    """All uses of quantizable weights, in the order of the graph."""
    return [use for node in graph for use in _find_uses_in(node)]


def find_layers(model: onnx_ir.Model) -> list[Layer]:
    """The layers of a graph, in its order."""
    layers: dict[str, list[WeightUse]] = {}
    for use in find_uses(model.graph):
        layers.setdefault(use.weight.name or "", []).append(use)
    return [
        Layer(
            name,
            _label(uses),
            tuple(use.node.name or "" for use in uses if not use.is_table),
            tuple(use.node.name or "" for use in uses if use.is_table),
            math.prod(shape_of(uses[0].weight)),
        )
        for name, uses in layers.items()
    ]


def find_stacked_products(graph: onnx_ir.Graph) -> list[str]:
    """Names of the products with several constant matrices at once, which have no kernel for 8 bits."""
    found = []
    for node in graph:
        right = node.inputs[1] if node.op_type == "MatMul" else None
        if right is not None and right.const_value is not None and math.prod(shape_of(right)[:-2]) > 1:
            found.append(node.name or "")
    return found


def has_cache(graph: onnx_ir.Graph) -> bool:
    """Whether the graph is a decoder that is run token by token."""
    return any((value.name or "").startswith(PAST) for value in graph.inputs)


def shape_of(weight: onnx_ir.Value) -> tuple[int, ...]:
    """The shape of an initializer."""
    assert weight.const_value is not None
    return tuple(dimension for dimension in weight.const_value.shape if isinstance(dimension, int))


def _find_uses_in(node: onnx_ir.Node) -> Iterator[WeightUse]:
    if node.domain not in ("", "ai.onnx"):
        return
    if node.op_type in TABLES:
        table, ids = node.inputs
        if _integer(node, "axis", 0) == 0 and _is_matrix(table) and ids is not None and ids.shape is not None:
            yield WeightUse(node, table)  # type: ignore[arg-type]
    elif node.op_type == "Gemm" and _is_plain(node) and _is_matrix(node.inputs[1]):
        yield WeightUse(node, node.inputs[1], bool(_integer(node, "transB", 0)))  # type: ignore[arg-type]
    elif node.op_type == "MatMul":
        right = node.inputs[1]
        if _is_matrix(right):
            yield WeightUse(node, right)  # type: ignore[arg-type]
        else:
            producer = None if right is None else right.producer()
            if producer is not None and producer.op_type == "Transpose" and _is_matrix(producer.inputs[0]):
                yield WeightUse(node, producer.inputs[0], transposed=True)  # type: ignore[arg-type]


def _is_matrix(value: onnx_ir.Value | None) -> bool:
    tensor = None if value is None or value.is_graph_input() else value.const_value
    return tensor is not None and tensor.dtype == onnx_ir.DataType.FLOAT and len(tensor.shape) == 2


def _is_plain(gemm: onnx_ir.Node) -> bool:
    factors = [gemm.attributes[name].as_float() for name in ("alpha", "beta") if name in gemm.attributes]
    return not _integer(gemm, "transA", 0) and all(factor == 1.0 for factor in factors)


def _integer(node: onnx_ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def _label(uses: list[WeightUse]) -> str:
    names = [use.weight.name or "" for use in uses if (use.weight.name or "").endswith(".weight")]
    names += [bias for use in uses for bias in _bias_names(use.node)]
    if not names:  # a product without bias, its weight transposed when it was traced
        return uses[0].node.name or ""
    return names[0].removeprefix("model.").rsplit(".", 1)[0]


def _bias_names(node: onnx_ir.Node) -> Iterator[str]:
    bias = added_bias(node)
    if bias is not None and (bias[1].name or "").endswith(".bias"):
        yield bias[1].name or ""


def added_bias(node: onnx_ir.Node) -> tuple[onnx_ir.Node, onnx_ir.Value] | None:
    """The node that adds a constant vector to a product and to nothing else, and the vector."""
    uses = list(node.outputs[0].uses())
    if node.outputs[0].is_graph_output() or len(uses) != 1 or uses[0].node.op_type != "Add":
        return None
    add = uses[0].node
    bias = add.inputs[1 - uses[0].idx]
    tensor = None if bias is None else bias.const_value
    return None if bias is None or tensor is None or len(tensor.shape) != 1 else (add, bias)
