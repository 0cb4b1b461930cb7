"""Weights that are equal are stored once.

onnx_ir has two such passes. ``DeduplicateHashedInitializersPass`` (1.1.0) fails on PyTorch's transposed tensors, which
are not contiguous. ``DeduplicateInitializersPass`` holds the bytes of every weight in memory.
"""

from __future__ import annotations

import hashlib

import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult


class DeduplicateWeightsPass(InPlacePass):
    """Leave one of the initializers that are equal in type, shape and content.

    A weight that several layers share is transposed for each of them, and each copy becomes a constant (ALBERT).
    """

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Replace the copies by the first."""
        first: dict[tuple[object, ...], onnx_ir.Value] = {}
        modified = False
        for name, value in list(model.graph.initializers.items()):
            tensor = value.const_value
            if tensor is None or value.is_graph_input() or value.is_graph_output():
                continue
            content = hashlib.sha256(tensor.tobytes()).digest()
            original = first.setdefault((tensor.dtype, tuple(tensor.shape), content), value)
            if original is not value:
                onnx_ir.convenience.replace_all_uses_with(value, original)
                del model.graph.initializers[name]
                modified = True
        return PassResult(model, modified)
