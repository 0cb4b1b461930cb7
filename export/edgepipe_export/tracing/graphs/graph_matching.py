"""Questions about a graph that several passes ask: what gives a value, who uses it, which of its sizes are known."""

from __future__ import annotations

import onnx_ir


def find_producer(value: onnx_ir.Value | None, op_type: str) -> onnx_ir.Node | None:
    """The node that gives a value, where it is of that kind."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type else None


def find_only_use(value: onnx_ir.Value, op_type: str, index: int) -> onnx_ir.Node | None:
    """The node of that kind that uses a value, where it alone does so, as that input."""
    uses = list(value.uses())
    if value.is_graph_output() or len(uses) != 1 or uses[0].node.op_type != op_type or uses[0].idx != index:
        return None
    return uses[0].node


def find_permutation(node: onnx_ir.Node) -> list[int] | None:
    """How a node transposes; None where it is another one."""
    return list(node.attributes["perm"].as_ints()) if node.op_type == "Transpose" else None


def read_integer(value: onnx_ir.Value | None) -> int | None:
    """The whole number that a constant holds; None where it is none, or holds several."""
    tensor = None if value is None else value.const_value
    return int(tensor.numpy().item()) if tensor is not None and tensor.size == 1 else None


def are_same_dimension(one: int | onnx_ir.SymbolicDim, other: int | onnx_ir.SymbolicDim) -> bool:
    """Whether two dimensions are certainly one, by number or by name."""
    return one == other and (isinstance(one, int) or one.value is not None)
