"""Encoders: token ids and masks in, the task's tensors out, one graph for every batch size and length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.model_patches import patch_model
from edgepipe_export.tracing.dynamic_axes import dynamic_shapes
from edgepipe_export.tracing.passes.tidy import tidy

if TYPE_CHECKING:
    import onnx_ir
    from transformers import PreTrainedModel

# Two rows and a length that divides nothing: torch.export treats a dimension of 1 as a constant, and a length that
# equals another size of the model could be taken for it.
SAMPLE_SHAPE = (2, 11)

# The tensors of every layer that a model returns when asked for them.
SERIES = ("hidden_states", "attentions")

POOLER = "pooler_output"

AXES = {0: "batch_size", 1: "sequence_length"}


class Encoder(nn.Module):
    """A model that returns only the tensors a task reads, by name.

    Attributes:
        model: The model that is traced.
        config: Its config; transformers' exporter looks for it.
        outputs: Names of the tensors to return.
        series: Which tensors of every layer to return after them, of ``"hidden_states"`` and ``"attentions"``. They
            are named ``hidden_states.0`` (the embeddings), ``hidden_states.1`` and so on; those of an
            encoder-decoder ``encoder_hidden_states.0``, ``decoder_hidden_states.0`` and so on.
    """

    def __init__(self, model: PreTrainedModel, outputs: Sequence[str], series: Sequence[str] = ()) -> None:
        super().__init__()
        self.model = model
        self.config = model.config
        self.outputs = tuple(outputs)
        self.series = tuple(series)

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the model on int64[batch, length] inputs."""
        wanted = {f"output_{name}": True for name in self.series}
        result = self.model(**inputs, return_dict=True, **wanted)
        missing = [name for name in self.outputs if name not in result]
        named = {name: result[name] for name in self.outputs if name in result}
        for series in self.series:
            keys = [key for key in result if key == series or key.endswith(f"_{series}")]
            missing += [] if keys else [series]
            for key in keys:
                named |= {f"{key}.{index}": tensor for index, tensor in enumerate(result[key])}
        if missing:
            raise ExportError(
                f"{type(self.model).__name__} has no output {', '.join(missing)}; it has {', '.join(result)}"
            )
        return named


def series_of(names: Iterable[str]) -> tuple[str, ...]:
    """The `series` of an :class:`Encoder` that gives outputs of these names."""
    given = {name.partition(".")[0] for name in names if "." in name}
    return tuple(series for series in SERIES if any(name.endswith(series) for name in given))


def sample_inputs(model: PreTrainedModel, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Inputs to trace with, int64[2, 11] each: distinct ids, and a second row that ends in padding."""
    batch, length = SAMPLE_SHAPE
    vocabulary = int(getattr(model.config, "vocab_size", batch * length))
    ids = torch.arange(batch * length).reshape(SAMPLE_SHAPE) % vocabulary
    end = getattr(model.config, "eos_token_id", None)
    if getattr(model.config, "is_encoder_decoder", False) and isinstance(end, int):
        ids[ids == end] = vocabulary - 1  # their classification heads read the last of these, and count them
        ids[:, -1] = end
    mask = torch.ones(SAMPLE_SHAPE, dtype=torch.int64)
    mask[1, length // 2 :] = 0
    known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros(SAMPLE_SHAPE, dtype=torch.int64)}
    return {name: known[name] for name in known if name in names}


def trace(
    model: PreTrainedModel,
    inputs: Sequence[str],
    outputs: Sequence[str],
    opset: int | None = None,
    series: Sequence[str] = (),
) -> onnx_ir.Model:
    """Trace an encoder.

    Args:
        model: In evaluation mode, fp32, with eager attention: on onnxruntime's CPU kernels its graph is no slower than
            that of scaled_dot_product_attention, which adds slices and conditionals around every layer.
        inputs: Names of the int64[batch, length] inputs; those the graph turns out not to read are left out.
        outputs: Names of the tensors to return.
        opset: ONNX opset; by default the exporter's own choice.
        series: See :class:`Encoder`.

    Returns:
        The graph, with the dimensions ``batch_size`` and ``sequence_length``, and float32 outputs.

    Raises:
        ExportError: the model has no such output.
    """
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    encoder = Encoder(model, outputs, series)
    sample: dict[str, Any] = sample_inputs(model, inputs)
    axes = dict.fromkeys(sample, AXES)
    config = OnnxConfig(dynamic_shapes=dynamic_shapes(axes), opset_version=opset)
    with patch_model(model), torch.no_grad():
        encoder(**sample)  # a missing output is reported here; within the tracer the message would drown
        exported = OnnxExporter().export(encoder, sample, config)
    program: onnx_ir.Model = exported.program
    tidy(program, axes)
    return program
