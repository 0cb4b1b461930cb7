"""The dimensions that vary get the names that other runtimes know."""

from __future__ import annotations

import re

import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult

from edgepipe.errors import ExportError
from edgepipe_export.tracing.dynamic_axes import Axes


class RenameDimensionsPass(InPlacePass):
    """Replace the tracer's symbols, alone or within expressions, in the shapes of all values.

    Attributes:
        axes: The name of each varying axis of each input. Inputs that the graph does not have are passed over.
    """

    def __init__(self, axes: Axes) -> None:
        super().__init__()
        self.axes = axes

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Rename the dimensions.

        Raises:
            ExportError: an axis was traced as a constant, or as equal to an axis with another name.
        """
        names = _symbol_names(model.graph, self.axes)
        if not names:
            return PassResult(model, modified=False)
        symbols = re.compile("|".join(rf"\b{re.escape(symbol)}\b" for symbol in names))
        outputs = (output for node in model.graph.all_nodes() for output in node.outputs)
        for value in (*model.graph.inputs, *outputs):
            if value.shape is not None:
                value.shape = onnx_ir.Shape(
                    symbols.sub(lambda match: names[match.group()], dimension.value)
                    if isinstance(dimension, onnx_ir.SymbolicDim) and dimension.value is not None
                    else dimension
                    for dimension in value.shape
                )
        return PassResult(model, modified=True)


def _symbol_names(graph: onnx_ir.Graph, axes: Axes) -> dict[str, str]:
    names: dict[str, str] = {}
    for value in graph.inputs:
        for axis, name in axes.get(value.name or "", {}).items():
            dimension = None if value.shape is None else value.shape[axis]
            if not isinstance(dimension, onnx_ir.SymbolicDim) or dimension.value is None:
                raise ExportError(
                    f"{name} of the input {value.name} was traced as the constant {dimension}: this architecture's "
                    "code depends on it, and its graph would only run at that size"
                )
            if not dimension.value.isidentifier():
                continue  # an expression: its symbols are axes of other inputs, and get their names
            if names.setdefault(dimension.value, name) != name:
                raise ExportError(
                    f"{name} of the input {value.name} was traced as always equal to {names[dimension.value]}: this "
                    "architecture's code depends on it, and its graph would only run where they are"
                )
    return names
