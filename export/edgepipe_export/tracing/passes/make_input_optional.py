"""An input that need not be given.

ONNX has such inputs as initializers of the same name. onnxruntime lists these apart from the others
(``get_overridable_initializers``). So a runtime that feeds what ``get_inputs`` lists (optimum, transformers.js)
runs the graph as if they were not there.
"""

from __future__ import annotations

import numpy as np
import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult


class MakeInputOptionalPass(InPlacePass):
    """Give an input of integers a default.

    Attributes:
        name: The input.
        default: What it is where nobody gives it: int64[], or int64[n] for a list.
    """

    def __init__(self, name: str, default: int | list[int]) -> None:
        super().__init__()
        self.name = name
        self.default = default

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Add the default."""
        (value,) = (value for value in model.graph.inputs if value.name == self.name)
        value.const_value = onnx_ir.tensor(np.array(self.default, np.int64), name=self.name)
        model.graph.register_initializer(value)
        return PassResult(model, modified=True)
