"""Operators without weights that onnxruntime's static quantization puts into 8 bits: each type a layer of its own."""

from __future__ import annotations

import onnx_ir
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from edgepipe_export.quantization.weights.layers import Layer, find_uses

TYPES = frozenset({*QDQRegistry, *QLinearOpsRegistry})

# They hand on numbers as they are, and lose nothing of their own.
_MOVING = frozenset(
    {"Concat", "Flatten", "Gather", "GatherElements", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
     "Unsqueeze", "Where"}
)  # fmt: skip


def find_operators(model: onnx_ir.Model) -> list[Layer]:
    """The operators that compute without a weight of a layer, by their type, in the order of the graph."""
    weighted = {use.node for use in find_uses(model.graph)}
    nodes: dict[str, list[str]] = {}
    for node in model.graph:
        if node.op_type in TYPES - _MOVING and node not in weighted:
            nodes.setdefault(node.op_type, []).append(node.name or "")
    return [Layer(kind, f"every {kind}", (), (), 0, tuple(names)) for kind, names in nodes.items()]
