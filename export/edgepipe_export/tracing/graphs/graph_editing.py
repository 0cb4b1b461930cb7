"""Edits of a graph that several passes and recipes make: a constant is added, a node is replaced by others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir

if TYPE_CHECKING:
    from numpy.typing import NDArray


def add_constant(graph: onnx_ir.Graph, name: str, array: NDArray[Any]) -> onnx_ir.Value:
    """The initializer of that name, made if it is not there yet."""
    if name not in graph.initializers:
        tensor = onnx_ir.tensor(array, name=name)
        value = onnx_ir.Value(
            name=name, const_value=tensor, shape=onnx_ir.Shape(array.shape), type=onnx_ir.TensorType(tensor.dtype)
        )
        graph.register_initializer(value)
    return graph.initializers[name]


class NodeReplacement:
    """What takes the place of a node: nodes are added one by one, values take over its outputs, and it goes.

    Attributes:
        graph: The graph.
        node: The node that is replaced.
    """

    def __init__(self, graph: onnx_ir.Graph, node: onnx_ir.Node) -> None:
        self.graph = graph
        self.node = node
        self._nodes: list[onnx_ir.Node] = []

    def add(self, operator: str, *inputs: onnx_ir.Value, domain: str = "", **attributes: Any) -> onnx_ir.Value:
        """A node's output, in float32 unless its type is set.

        Args:
            operator: The node's operator.
            *inputs: What it takes.
            domain: Whose operator it is; ONNX's own by default.
            **attributes: Its attributes.
        """
        name = f"{self.node.name}.{len(self._nodes)}"
        node = onnx_ir.node(operator, inputs, attributes=attributes, domain=domain, name=name)
        node.outputs[0].name = node.name
        node.outputs[0].type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
        self._nodes.append(node)
        return node.outputs[0]

    def number(self, name: str, number: float) -> onnx_ir.Value:
        """A constant of the graph, float32[]; what has the same name is the same."""
        return add_constant(self.graph, name, np.array(number, np.float32))

    def numbers(self, name: str, numbers: list[int]) -> onnx_ir.Value:
        """Likewise int64[numbers]: a shape, or axes."""
        return add_constant(self.graph, name, np.array(numbers, np.int64))

    def take_place(self, index: int, value: onnx_ir.Value) -> None:
        """Let a value be what one of the node's outputs was."""
        before = self.node.outputs[index]
        value.shape, value.type, value.name = before.shape, before.type or value.type, before.name
        onnx_ir.convenience.replace_all_uses_with(before, value, replace_graph_outputs=True)

    def finish(self) -> None:
        """Put the nodes into the graph, and take the one they replace out."""
        self.graph.insert_before(self.node, self._nodes)
        self.graph.remove(self.node, safe=True)
