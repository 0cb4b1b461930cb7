"""A product with the reciprocal of a root becomes a division by the root.

PyTorch computes RMSNorm (Zhang and Sennrich 2019) with ``rsqrt``, for which ONNX has no operator: a root and its
reciprocal stand for it. onnxruntime knows the norm where it divides, and computes all of it in one go then, and looks
past it otherwise. So the graph has standard operators, and every other engine runs it as before.
"""

from __future__ import annotations

import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult

from edgepipe_export.tracing.graphs.graph_editing import NodeReplacement


class DivideByRootPass(InPlacePass):
    """Replace ``x * Reciprocal(Sqrt(y))`` by ``x / Sqrt(y)``. Nodes that nobody uses any more stay until removed."""

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Replace the products."""
        modified = False
        for graph in model.graphs():
            for node in list(graph):
                for place, factor in enumerate(node.inputs) if node.op_type == "Mul" else ():
                    root, other = _find_root(factor), node.inputs[1 - place]
                    if root is not None and other is not None:
                        replacement = NodeReplacement(graph, node)
                        replacement.take_place(0, replacement.add("Div", other, root))
                        replacement.finish()
                        modified = True
                        break
        return PassResult(model, modified)


def _find_root(value: onnx_ir.Value | None) -> onnx_ir.Value | None:
    """The root whose reciprocal a value is; None where it is something else."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "Reciprocal" or node.inputs[0] is None:
        return None
    before = node.inputs[0].producer()
    return node.inputs[0] if before is not None and before.op_type == "Sqrt" else None
