"""Encoders: token ids and masks in, the task's tensors out, one graph for every batch size and length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.architectures import find_architecture, patch_model
from edgepipe_export.tracing.dynamic_axes import TOKEN_AXES
from edgepipe_export.tracing.onnx_export import TracedModule, clean_up, export_to_onnx

if TYPE_CHECKING:
    import onnx_ir
    from transformers import PreTrainedModel

# Two rows, of a length that divides nothing: torch.export treats a dimension of 1 as a constant, and a length that
# equals another size of the model could be taken for it.
_BATCH = 2

# The tensors of every layer that a model returns when asked for them.
LAYER_OUTPUTS = ("hidden_states", "attentions")

POOLER = "pooler_output"


class Encoder(TracedModule):
    """A model that returns only the tensors a task reads, by name.

    Attributes:
        outputs: Names of the tensors to return.
        layer_outputs: Which tensors of every layer to return after them, of :data:`LAYER_OUTPUTS`. They are named
            ``hidden_states.0`` (the embeddings), ``hidden_states.1`` and so on; those of an encoder-decoder
            ``encoder_hidden_states.0``, ``decoder_hidden_states.0`` and so on.
    """

    def __init__(self, model: PreTrainedModel, outputs: Sequence[str], layer_outputs: Sequence[str] = ()) -> None:
        super().__init__(model)
        self.outputs = tuple(outputs)
        self.layer_outputs = tuple(layer_outputs)

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the model on int64[batch, length] inputs."""
        wanted = {f"output_{name}": True for name in self.layer_outputs}
        result = self.model(**inputs, return_dict=True, **wanted)
        missing = [name for name in self.outputs if name not in result]
        named = {name: result[name] for name in self.outputs if name in result}
        for name in self.layer_outputs:
            keys = [key for key in result if key == name or key.endswith(f"_{name}")]
            missing += [] if keys else [name]
            for key in keys:
                named |= {f"{key}.{index}": tensor for index, tensor in enumerate(result[key])}
        if missing:
            raise ExportError(
                f"{type(self.model).__name__} has no output {', '.join(missing)}; it has {', '.join(result)}"
            )
        return named


def find_layer_outputs(names: Iterable[str]) -> tuple[str, ...]:
    """The `layer_outputs` of an :class:`Encoder` that gives outputs of these names."""
    given = {name.partition(".")[0] for name in names if "." in name}
    return tuple(output for output in LAYER_OUTPUTS if any(name.endswith(output) for name in given))


def sample_inputs(model: PreTrainedModel, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Inputs to trace with, int64[2, length] each: distinct ids, and a second row that ends in padding."""
    length = find_architecture(model).traced_length(model.config)
    shape = (_BATCH, length)
    vocabulary = int(getattr(model.config, "vocab_size", _BATCH * length))
    ids = torch.arange(_BATCH * length).reshape(shape) % vocabulary
    end = getattr(model.config, "eos_token_id", None)
    if getattr(model.config, "is_encoder_decoder", False) and isinstance(end, int):
        ids[ids == end] = vocabulary - 1  # their classification heads read the last of these, and count them
        ids[:, -1] = end
    mask = torch.ones(shape, dtype=torch.int64)
    mask[1, length // 2 :] = 0
    known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros(shape, dtype=torch.int64)}
    return {name: known[name] for name in known if name in names}


def count_logits(graph: onnx_ir.Model) -> int | None:
    """How many logits a graph gives for each text or token; None where its shape does not say."""
    logits = next((output for output in graph.graph.outputs if output.name == "logits"), None)
    last = None if logits is None or logits.shape is None else logits.shape[-1]
    return last if isinstance(last, int) else None


def trace_encoder(
    model: PreTrainedModel,
    inputs: Sequence[str],
    outputs: Sequence[str],
    opset: int | None = None,
    layer_outputs: Sequence[str] = (),
) -> onnx_ir.Model:
    """Trace an encoder.

    Args:
        model: In evaluation mode, fp32, with eager attention: on onnxruntime's CPU kernels its graph is no slower than
            that of scaled_dot_product_attention, which adds slices and conditionals around every layer.
        inputs: Names of the int64[batch, length] inputs; those the graph turns out not to read are left out.
        outputs: Names of the tensors to return.
        opset: ONNX opset; by default the exporter's own choice.
        layer_outputs: See :class:`Encoder`.

    Returns:
        The graph, with the dimensions ``batch_size`` and ``sequence_length``, and float32 outputs.

    Raises:
        ExportError: the model has no such output.
    """
    encoder = Encoder(model, outputs, layer_outputs)
    sample: dict[str, Any] = sample_inputs(model, inputs)
    axes = dict.fromkeys(sample, TOKEN_AXES)
    with patch_model(model), torch.no_grad():
        encoder(**sample)  # a missing output is reported here; within the tracer the message would drown
    program = export_to_onnx(model, encoder, sample, axes, opset)
    clean_up(program, axes)
    return program
