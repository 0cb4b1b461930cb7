"""From a PyTorch module to an ONNX graph: transformers' exporter, and the passes that every traced graph needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass
from torch import nn

from edgepipe_export.checkpoint.architectures import patch_model
from edgepipe_export.tracing.dynamic_axes import Axes, dynamic_shapes
from edgepipe_export.tracing.passes.deduplicate_weights import DeduplicateWeightsPass
from edgepipe_export.tracing.passes.divide_by_root import DivideByRootPass
from edgepipe_export.tracing.passes.remove_idle_gathers import RemoveIdleGathersPass
from edgepipe_export.tracing.passes.remove_idle_reshapes import RemoveIdleReshapesPass
from edgepipe_export.tracing.passes.remove_unused_inputs import RemoveUnusedInputsPass
from edgepipe_export.tracing.passes.rename_dimensions import RenameDimensionsPass

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TracedModule(nn.Module):
    """What is traced: a model, and a ``forward`` of the subclass that names its inputs and outputs as the graph does.

    Attributes:
        model: The model.
        config: Its config; transformers' exporter looks for it.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.config = model.config


def export_to_onnx(
    model: PreTrainedModel, module: nn.Module, sample: dict[str, Any], axes: Axes, opset: int | None
) -> onnx_ir.Model:
    """Trace a module.

    Args:
        model: The model within the module, whose patches are needed.
        module: What is traced; its ``forward`` takes `sample` by name.
        sample: Inputs to trace with, nested as ``forward`` takes them.
        axes: The axes of the inputs that vary.
        opset: ONNX opset; None for the exporter's own choice.

    Returns:
        The graph as the exporter gives it; see :func:`clean_up`.
    """
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    config = OnnxConfig(dynamic_shapes=dynamic_shapes(sample, axes), opset_version=opset)
    with patch_model(model), torch.no_grad():
        program: onnx_ir.Model = OnnxExporter().export(module, dict(sample), config).program
    return program


def clean_up(model: onnx_ir.Model, axes: Axes) -> None:
    """Name the varying dimensions, remove unread inputs and repeated weights, and clear metadata; in place.

    Args:
        model: The graph.
        axes: The name of each varying axis of each input; inputs that the graph does not have are passed over.

    Raises:
        ExportError: an axis that must vary was traced as a constant, or as the same as one with another name.
    """
    for graph_pass in (
        RemoveIdleReshapesPass(),
        RemoveIdleGathersPass(),
        DivideByRootPass(),
        RemoveUnusedNodesPass(),
        RemoveUnusedInputsPass(),
        RenameDimensionsPass(axes),
        DeduplicateWeightsPass(),
        # Stack traces of every node: half the file, and paths of this machine in it.
        ClearMetadataAndDocStringPass(),
    ):
        graph_pass(model)
    model.metadata_props.clear()
    model.doc_string = None
    model.producer_name, model.producer_version = "edgepipe", None
