"""XLNet as a decoder: one graph for the prompt and for every step after it.

Inputs are ``input_ids``, the prompt or the last two tokens, and ``past_key_values.{i}.mems``, the hidden states that
layers keep; outputs ``logits`` of the next token alone, and ``present.{i}.mems``. ``mem_len`` and ``reuse_len`` of the
config decide how many states are kept; see :mod:`edgepipe.models.decoder.recurrent`, which runs the graph.

A step is what ``XLNetLMHeadModel.prepare_inputs_for_generation`` makes of it: a token is appended that no other sees,
and whose place alone is predicted. That method drops the attention mask, so there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir
import torch

from edgepipe.bundle.layout import PRESENT, present_name
from edgepipe_export.tracing.decoder import decoder_axes
from edgepipe_export.tracing.graphs.graph_editing import add_constant
from edgepipe_export.tracing.kv_cache.cached_attention import CONCATENATED, NO_CACHE
from edgepipe_export.tracing.onnx_export import TracedModule, clean_up, export_to_onnx

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    Layers = list[dict[str, torch.Tensor]]

# As many states as a step reads and appends tokens are dropped: the last token is read again, and the appended one was
# never there.
_DROPPED = 2
# Rows, new tokens and kept states in numbers that are not alike, as in the other decoders.
_BATCH, _NEW, _PAST = 2, 5, 11


class RecurrentDecoder(TracedModule):
    """XLNet with its language modeling head, which takes and gives its mems as tensors with names."""

    def forward(self, input_ids: torch.Tensor, past_key_values: Layers) -> dict[str, Any]:
        """Run the model.

        Args:
            input_ids: int64[batch, new].
            past_key_values: The ``mems`` of each layer, float32[batch, 1, past, width]; none for a model that keeps
                none.

        Returns:
            ``logits``, float32[batch, 1, vocabulary], and ``present``, like `past_key_values`, with all states
            that were read; see :func:`_cut_present`.
        """
        batch, new = input_ids.shape
        ids = torch.cat([input_ids, input_ids.new_zeros((batch, 1))], dim=1)
        is_appended = (torch.arange(new + 1) == new).float()
        result = self.model.transformer(
            input_ids=ids,
            perm_mask=is_appended.expand(batch, new + 1, -1),
            target_mapping=is_appended.expand(batch, 1, -1),
            # transformers has them as [past, batch, width].
            mems=[layer["mems"][:, 0].transpose(0, 1) for layer in past_key_values] or None,
            use_mems=bool(past_key_values),
            return_dict=True,
        )
        # Without the axis of the one place, where onnxruntime 1.32 crashes when it fuses transposes in fp16.
        logits = self.model.lm_loss(result["last_hidden_state"][:, 0])[:, None]
        if not past_key_values:
            return {"logits": logits}
        return {"logits": logits, "present": [{"mems": states.transpose(0, 1)[:, None]} for states in result["mems"]]}


def sample_inputs(model: PreTrainedModel) -> dict[str, Any]:
    """Inputs to trace with: int64[2, 5] ids behind 11 kept states."""
    layers = model.config.n_layer if model.config.use_mems_eval else 0
    states = torch.zeros((_BATCH, 1, _PAST, model.config.d_model))
    return {
        "input_ids": torch.arange(_BATCH * _NEW).reshape(_BATCH, _NEW) % model.config.vocab_size,
        "past_key_values": [{"mems": states.clone()} for _ in range(layers)],
    }


def _cut_present(graph: onnx_ir.Graph, config: Any) -> None:
    """Have the graph give only those states of a layer that the next step is to have.

    As ``XLNetModel.cache_mem`` and ``XLNetLMHeadModel.prepare_inputs_for_generation`` cut them. Not traced: the tracer
    leaves a cut out, or makes it at a constant, where it is longer or shorter than the inputs that it traces with.
    """
    axis = add_constant(graph, "edgepipe.mems_axis", np.array([2]))
    for index, output in enumerate(graph.outputs):
        if not (output.name or "").startswith(PRESENT):
            continue
        name = str(output.name)
        past = next(value for value in graph.inputs if value.name and present_name(value.name) == name)
        batch, _, _, width = output.shape or (None,) * 4
        cuts: list[tuple[str, onnx_ir.Value, onnx_ir.Value]] = []
        if config.reuse_len is not None and config.reuse_len > 0:
            before = _add(graph, "Shape", f"{name}.before", past, start=2, end=3)
            reused = _add(graph, "Add", f"{name}.reuse_len", before, _number(graph, config.reuse_len))
            cuts.append(("reused", _number(graph, 0), reused))
        if config.mem_len:
            cuts.append(("last", _number(graph, -config.mem_len), _number(graph, np.iinfo(np.int64).max)))
        cuts.append(("kept", _number(graph, 0), _number(graph, -_DROPPED)))
        kept = output
        for what, start, end in cuts:
            kept = _add(graph, "Slice", f"{name}.{what}", kept, start, end, axis)
        output.name, kept.name = f"{name}.whole", name
        kept.type, kept.shape = output.type, onnx_ir.Shape([batch, 1, "kept_sequence_length", width])
        graph.outputs[index] = kept


def _number(graph: onnx_ir.Graph, number: int) -> onnx_ir.Value:
    return add_constant(graph, f"edgepipe.number_{number}", np.array([number], np.int64))


def _add(graph: onnx_ir.Graph, operator: str, name: str, *inputs: onnx_ir.Value, **attributes: int) -> onnx_ir.Value:
    """The output of a new node."""
    node = onnx_ir.node(operator, inputs, attributes=attributes, name=f"{name}.{operator}")
    graph.append(node)
    node.outputs[0].name = node.name
    return node.outputs[0]


def trace_recurrent_decoder(model: PreTrainedModel, opset: int | None = None) -> tuple[onnx_ir.Model, dict[str, Any]]:
    """Trace XLNet's language model.

    Args:
        model: In evaluation mode, fp32.
        opset: ONNX opset; by default the exporter's own choice.

    Returns:
        The graph, as the module describes it, and what a recipe says of its cache: its kind, see
        :mod:`edgepipe_export.tracing.kv_cache.cached_attention`.
    """
    sample = sample_inputs(model)
    axes = decoder_axes(sample)
    program = export_to_onnx(model, RecurrentDecoder(model), sample, axes, opset)
    clean_up(program, axes)
    _cut_present(program.graph, model.config)
    return program, {"cache": CONCATENATED if sample["past_key_values"] else NO_CACHE}
