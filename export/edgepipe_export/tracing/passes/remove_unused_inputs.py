"""Inputs that nothing reads are removed."""

from __future__ import annotations

import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult


class RemoveUnusedInputsPass(InPlacePass):
    """Remove the inputs that no node and no output reads."""

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Remove the inputs."""
        unused = [value for value in model.graph.inputs if not value.uses() and not value.is_graph_output()]
        for value in unused:
            model.graph.inputs.remove(value)
        return PassResult(model, modified=bool(unused))
