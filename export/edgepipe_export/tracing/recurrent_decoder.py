"""XLNet as a decoder: one graph for the prompt and for every step after it.

Inputs are ``input_ids``, the prompt or the last two tokens, and ``past_key_values.{i}.mems``, the hidden states that
layers keep; outputs ``logits`` of the next token alone, and ``present.{i}.mems``. ``mem_len`` and ``reuse_len`` of the
config decide how many states are kept; see :mod:`edgepipe.models.decoder.recurrent`, which runs the graph.

A step is what ``XLNetLMHeadModel.prepare_inputs_for_generation`` makes of it: a token is appended that no other sees,
and whose place alone is predicted. That method drops the attention mask, so there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir
import torch
from torch import nn

from edgepipe.bundle.layout import PAST, PAST_SEQUENCE_LENGTH, PRESENT
from edgepipe_export.tracing.cached_attention import CONCATENATED, NO_CACHE
from edgepipe_export.tracing.dynamic_axes import BATCH, TOKEN_AXES, Axes
from edgepipe_export.tracing.onnx_export import clean_up, export_to_onnx

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    Layers = list[dict[str, torch.Tensor]]

# As many states as a step reads and appends tokens are dropped: the last token is read again, and the appended one was
# never there.
_DROPPED = 2
# Rows, new tokens and kept states in numbers that are not alike, as in the other decoders.
_BATCH, _NEW, _PAST = 2, 5, 11


class RecurrentDecoder(nn.Module):
    """XLNet with its language modeling head, which takes and gives its mems as tensors with names.

    Attributes:
        model: The model that is traced.
        config: Its config; transformers' exporter looks for it.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.config = model.config

    def forward(self, input_ids: torch.Tensor, past_key_values: Layers) -> dict[str, Any]:
        """Run the model.

        Args:
            input_ids: int64[batch, new].
            past_key_values: The ``mems`` of each layer, float32[batch, 1, past, width]; none for a model that keeps
                none.

        Returns:
            ``logits``, float32[batch, 1, vocabulary], and ``present``, like `past_key_values`.
        """
        batch, new = input_ids.shape
        ids = torch.cat([input_ids, input_ids.new_zeros((batch, 1))], dim=1)
        is_appended = (torch.arange(new + 1) == new).float()
        result = self.model(
            input_ids=ids,
            perm_mask=is_appended.expand(batch, new + 1, -1),
            target_mapping=is_appended.expand(batch, 1, -1),
            # transformers has them as [past, batch, width].
            mems=[layer["mems"][:, 0].transpose(0, 1) for layer in past_key_values] or None,
            use_mems=bool(past_key_values),
            return_dict=True,
        )
        if not past_key_values:
            return {"logits": result["logits"]}
        layers = [{"mems": self._cut(states).transpose(0, 1)[:, None]} for states in result["mems"]]
        return {"logits": result["logits"], "present": layers}

    def _cut(self, states: torch.Tensor) -> torch.Tensor:
        """What the next step is to have of states, float32[kept, batch, width].

        First the last ones go, then those before ``mem_len``: the other way round, as transformers has it, the tracer
        makes the second cut at a constant.
        """
        mem_len = self.config.mem_len or None
        states = states[:-_DROPPED]
        if mem_len is None:
            return states
        return states[_DROPPED - mem_len :] if mem_len > _DROPPED else states[:0]


def sample_inputs(model: PreTrainedModel) -> dict[str, Any]:
    """Inputs to trace with: int64[2, 5] ids behind 11 kept states."""
    layers = model.config.n_layer if model.config.use_mems_eval else 0
    states = torch.zeros((_BATCH, 1, _PAST, model.config.d_model))
    return {
        "input_ids": torch.arange(_BATCH * _NEW).reshape(_BATCH, _NEW) % model.config.vocab_size,
        "past_key_values": [{"mems": states.clone()} for _ in range(layers)],
    }


def _declare_present(graph: onnx_ir.Graph) -> None:
    """Say that the number of kept states varies: the tracer saw ``mem_len`` of them, and there may be fewer."""
    for output in graph.outputs:
        if (output.name or "").startswith(PRESENT) and output.shape is not None:
            batch, _, _, width = output.shape
            output.shape = onnx_ir.Shape([batch, 1, "kept_sequence_length", width])
            # What it is made of: the axes exchanged, the cuts. Their sizes are found again when the graph is loaded.
            node = output.producer()
            while node is not None and node.op_type in ("Unsqueeze", "Transpose", "Slice"):
                value = node.inputs[0]
                node = None if value is None else value.producer()
                if value is not None and node is not None and node.op_type in ("Transpose", "Slice"):
                    value.shape = None


def trace_recurrent_decoder(model: PreTrainedModel, opset: int | None = None) -> tuple[onnx_ir.Model, str]:
    """Trace XLNet's language model.

    Args:
        model: In evaluation mode, fp32.
        opset: ONNX opset; by default the exporter's own choice.

    Returns:
        The graph, as the module describes it, and the kind of its cache; see
        :mod:`edgepipe_export.tracing.cached_attention`.
    """
    sample = sample_inputs(model)
    layers = sample["past_key_values"]
    past = {0: BATCH, 2: PAST_SEQUENCE_LENGTH}
    axes: Axes = {"input_ids": TOKEN_AXES, **{f"{PAST}{index}.mems": past for index in range(len(layers))}}
    program = export_to_onnx(model, RecurrentDecoder(model), sample, axes, opset)
    clean_up(program, axes)
    _declare_present(program.graph)
    return program, CONCATENATED if layers else NO_CACHE
