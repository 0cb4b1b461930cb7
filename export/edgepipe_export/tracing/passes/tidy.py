"""What every traced graph still needs: dimension names, nothing unread, nothing twice, nothing about this machine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import onnx_ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass

from edgepipe.errors import ExportError
from edgepipe_export.tracing.dynamic_axes import Axes
from edgepipe_export.tracing.passes.reshapes import drop_idle_reshapes


def tidy(model: onnx_ir.Model, axes: Axes) -> None:
    """Name the varying dimensions, drop unread inputs and repeated weights, and clear metadata; in place.

    Args:
        model: The graph.
        axes: The name of each varying axis of each input; inputs that the graph does not have are passed over.

    Raises:
        ExportError: an axis that must vary was traced as a constant, or as the same as one with another name.
    """
    drop_idle_reshapes(model.graph)
    RemoveUnusedNodesPass()(model)
    drop_unread_inputs(model.graph)
    rename_dimensions(model.graph, _dimension_names(model.graph, axes))
    store_once(model.graph)
    # Stack traces of every node: half the file, and paths of this machine in it.
    ClearMetadataAndDocStringPass()(model)
    model.metadata_props.clear()
    model.doc_string = None
    model.producer_name, model.producer_version = "edgepipe", None


def drop_unread_inputs(graph: onnx_ir.Graph) -> None:
    """Remove the inputs that no node and no output reads."""
    for value in list(graph.inputs):
        if not value.uses() and not value.is_graph_output():
            graph.inputs.remove(value)


def store_once(graph: onnx_ir.Graph) -> None:
    """Leave one of the initializers that are equal in type, shape and content.

    A weight that several layers share is transposed for each of them, and each copy becomes a constant (ALBERT).
    """
    first: dict[tuple[object, ...], onnx_ir.Value] = {}
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or value.is_graph_input() or value.is_graph_output():
            continue
        content = hashlib.sha256(tensor.tobytes()).digest()
        kept = first.setdefault((tensor.dtype, tuple(tensor.shape), content), value)
        if kept is not value:
            onnx_ir.convenience.replace_all_uses_with(value, kept)
            del graph.initializers[name]


def rename_dimensions(graph: onnx_ir.Graph, names: Mapping[str, str]) -> None:
    """Replace symbols, alone or within expressions, in the shapes of all values."""
    if not names:
        return
    symbols = re.compile("|".join(rf"\b{re.escape(symbol)}\b" for symbol in names))
    for value in _values(graph):
        if value.shape is not None:
            value.shape = onnx_ir.Shape(
                symbols.sub(lambda match: names[match.group()], dimension.value)
                if isinstance(dimension, onnx_ir.SymbolicDim) and dimension.value is not None
                else dimension
                for dimension in value.shape
            )


def _dimension_names(graph: onnx_ir.Graph, axes: Axes) -> dict[str, str]:
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


def _values(graph: onnx_ir.Graph) -> list[onnx_ir.Value]:
    return [*graph.inputs, *(output for node in graph.all_nodes() for output in node.outputs)]
