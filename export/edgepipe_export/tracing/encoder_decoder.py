"""Encoder-decoders: a graph for the source, and one for the first and every later step of the target.

The decoder's cross-attention needs keys and values of the source, which change with no step. In one graph without an
``If`` they are those of the past and ``project(encoder_hidden_states[:, :n])``: n is the source's length at the first
step, where the past is empty, and 0 from then on. So nothing is computed twice, and no weight is stored twice.

The decoder's inputs are ``input_ids``, ``encoder_attention_mask``, ``encoder_hidden_states``, ``use_cache_branch`` and
``past_key_values.{i}.decoder|encoder.key|value``; its outputs ``logits`` and ``present.{i}`` likewise. The source's are
to be read at the first step and given back as they are: at later steps ``present.{i}.encoder.key`` may be empty, as it
is in optimum's merged decoders.

Where all rows of the target have one source, that may have one row
(:mod:`edgepipe_export.tracing.passes.separate_source_rows`).

One more input is optional (:mod:`edgepipe_export.tracing.passes.read_length_from_input`): ``past_sequence_length``,
int64[1], says how many tokens of the target the past has where its tensors have room for more, so that past and present
may be one buffer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from edgepipe.bundle.layout import PAST, PAST_SEQUENCE_LENGTH
from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.architectures import find_architecture
from edgepipe_export.checkpoint.model_inputs import cache_name
from edgepipe_export.tracing.dynamic_axes import BATCH, TOKEN_AXES, Axes
from edgepipe_export.tracing.encoder import trace_encoder
from edgepipe_export.tracing.kv_cache.cache_layers import CrossAttentionCache, GroupQueryCache, sample_past
from edgepipe_export.tracing.kv_cache.cached_attention import SHARED, cached_attention, find_cache_kind
from edgepipe_export.tracing.onnx_export import TracedModule, clean_up, export_to_onnx
from edgepipe_export.tracing.passes.read_length_from_input import ReadLengthFromInputPass
from edgepipe_export.tracing.passes.separate_source_rows import SeparateSourceRowsPass
from edgepipe_export.tracing.passes.state_known_dimensions import StateKnownDimensionsPass

if TYPE_CHECKING:
    import onnx_ir
    from transformers import PreTrainedModel

    Layers = list[dict[str, dict[str, torch.Tensor]]]

ENCODER_INPUTS = ("input_ids", "attention_mask")
ENCODER_OUTPUTS = ("last_hidden_state",)

# Two rows; new tokens, past ones and room for them, source ones before and now, in numbers that are not alike:
# torch.export takes a dimension of 0 or 1 for a constant, and equal dimensions for one. That the source has a past
# *and* states happens while tracing alone.
_BATCH, _NEW, _PAST, _ROOM, _SOURCE_PAST, _SOURCE = 2, 5, 7, 17, 3, 11

# Stands for `PAST_SEQUENCE_LENGTH` while a graph is traced.
_PAST_TOKENS = "past_tokens"


class Seq2SeqDecoder(TracedModule):
    """The decoder of an encoder-decoder, its head, and its cache as tensors with names.

    Attributes:
        attends_in_cache: Whether the layers of the cache compute attention
            (:mod:`edgepipe_export.tracing.kv_cache.cache_layers`); else past and new keys are concatenated.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self.attends_in_cache = find_cache_kind(model) == SHARED

    def forward(
        self,
        input_ids: torch.Tensor,
        encoder_attention_mask: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        past_key_values: Layers,
        use_cache_branch: torch.Tensor,
        past_tokens: torch.Tensor | None = None,
    ) -> dict[str, Any]:
        """Run the decoder.

        Args:
            input_ids: int64[batch, new].
            encoder_attention_mask: int64[batch, source].
            encoder_hidden_states: float32[batch, source, width]; not read where the cache has the source.
            past_key_values: For each layer ``decoder`` and ``encoder``, of each ``key`` and ``value``:
                float32[batch, heads, past or source, width]. The source's have length 0 at the first step.
            use_cache_branch: bool[1], whether the cache has the source.
            past_tokens: As long as the target's past; only where the cache's layers attend.

        Returns:
            ``logits``, float32[batch, new, vocabulary], and ``present``, like `past_key_values` with the new tokens; of
            the source those that were projected now, where the cache's layers attend.

        Raises:
            ExportError: the model's cross-attention does not go through transformers' interface.
        """
        from transformers.cache_utils import DynamicCache, EncoderDecoderCache
        from transformers.modeling_outputs import BaseModelOutput

        states = encoder_hidden_states
        count = ((1 - use_cache_branch.to(torch.int64).squeeze()) * states.shape[1]).item()
        _require(count >= 0, count <= states.shape[1])
        batch, new = input_ids.shape
        _require(states.shape[0] == batch, encoder_attention_mask.shape[0] == batch)
        past, cached = (past_key_values[0][kind]["key"].shape[2] for kind in ("decoder", "encoder"))
        for layer in past_key_values:
            _require(*(tensor.shape[0] == batch for kind in layer.values() for tensor in kind.values()))
            _require(*(tensor.shape[2] == past for tensor in layer["decoder"].values()))
            _require(*(tensor.shape[2] == cached for tensor in layer["encoder"].values()))
        _require(encoder_attention_mask.shape[1] == cached + count)
        targets = [(layer["decoder"]["key"], layer["decoder"]["value"]) for layer in past_key_values]
        if past_tokens is not None:
            own = GroupQueryCache(targets, batch, past_tokens.shape[0] + new, new)
        else:
            # Without the config: it would make layers that drop what is out of their window, which the mask hides too.
            own = DynamicCache(targets)
        sources = [(layer["encoder"]["key"], layer["encoder"]["value"]) for layer in past_key_values]
        cross = CrossAttentionCache(sources) if self.attends_in_cache else DynamicCache(sources)
        cache = EncoderDecoderCache(own, cross)
        cache.is_updated = dict.fromkeys(range(len(past_key_values)), False)  # so that the model projects the states
        mask = encoder_attention_mask
        if not find_architecture(self.model).decodes_single_tokens:
            # As large as the keys; transformers would make it as large as the states. Four axes are left as they are.
            lowest = torch.finfo(states.dtype).min
            mask = torch.where(mask[:, None, None, :] > 0, 0.0, lowest).expand(-1, 1, new, -1)
        result = self.model(
            attention_mask=mask,
            decoder_input_ids=input_ids,
            encoder_outputs=BaseModelOutput(last_hidden_state=states[:, :count]),
            **{cache_name(self.model): cache},
            use_cache=True,
            return_dict=True,
        )
        presents = [layer.present if self.attends_in_cache else (layer.keys, layer.values) for layer in own.layers]
        projected = [layer.new if self.attends_in_cache else (layer.keys, layer.values) for layer in cross.layers]
        if None in projected or None in presents:
            raise ExportError(f"{type(self.model).__name__} computes attention past transformers' interface")
        layers = [
            {kind: {"key": key, "value": value} for kind, (key, value) in (("decoder", target), ("encoder", source))}
            for target, source in zip(presents, projected, strict=True)
        ]
        return {"logits": result.logits, "present": layers}


def _require(*conditions: Any) -> None:
    """Tell the tracer what always holds, where it could not decide."""
    for condition in conditions:
        torch._check(condition)  # type: ignore[no-untyped-call]


def sample_inputs(model: PreTrainedModel) -> dict[str, Any]:
    """Inputs to trace a decoder with."""
    mask = torch.ones((_BATCH, _SOURCE_PAST + _SOURCE), dtype=torch.int64)
    mask[1, -2:] = 0
    ids = torch.arange(_BATCH * _NEW).reshape(_BATCH, _NEW)
    new = ids[:, :1] if find_architecture(model).decodes_single_tokens else ids
    with torch.no_grad():
        result = model(input_ids=ids, decoder_input_ids=ids[:, :1], use_cache=True, return_dict=True)
    cache = getattr(result, cache_name(model))
    attends_in_cache = find_cache_kind(model) == SHARED
    kinds = {
        "decoder": (cache.self_attention_cache, _ROOM if attends_in_cache else _PAST),
        "encoder": (cache.cross_attention_cache, _SOURCE_PAST),
    }
    layers = [
        {kind: sample_past(cached.layers[index], _BATCH, length) for kind, (cached, length) in kinds.items()}
        for index in range(len(cache.self_attention_cache.layers))
    ]
    return {
        "input_ids": new,
        "encoder_attention_mask": mask,
        "encoder_hidden_states": torch.zeros((_BATCH, _SOURCE, result.encoder_last_hidden_state.shape[-1])),
        "past_key_values": layers,
        "use_cache_branch": torch.tensor([False]),
        **({_PAST_TOKENS: torch.zeros(_PAST)} if attends_in_cache else {}),
    }


def _decoder_axes(sample: dict[str, Any]) -> Axes:
    """The names of the axes of a decoder's inputs that vary."""
    source = {0: BATCH, 1: "encoder_sequence_length"}
    past = {"decoder": PAST_SEQUENCE_LENGTH, "encoder": "past_encoder_sequence_length"}
    return {
        _PAST_TOKENS: {0: _PAST_TOKENS},
        "input_ids": TOKEN_AXES if sample["input_ids"].shape[1] > 1 else {0: BATCH},
        "encoder_attention_mask": source,
        "encoder_hidden_states": source,
        **{
            f"{PAST}{index}.{kind}.{name}": {0: BATCH, 2: length}
            for index in range(len(sample["past_key_values"]))
            for kind, length in past.items()
            for name in ("key", "value")
        },
    }


def trace_source_encoder(model: PreTrainedModel, opset: int | None = None) -> onnx_ir.Model:
    """Trace the encoder of an encoder-decoder.

    Args:
        model: In evaluation mode, fp32, with eager attention.
        opset: ONNX opset; by default the exporter's own choice.

    Returns:
        A graph from ``input_ids`` and ``attention_mask``, int64[batch, source], to ``last_hidden_state``,
        float32[batch, source, width].

    Raises:
        ExportError: the encoder cannot be traced for every size.
    """
    return trace_encoder(model.get_encoder(), ENCODER_INPUTS, ENCODER_OUTPUTS, opset)


def trace_seq2seq_decoder(model: PreTrainedModel, opset: int | None = None) -> onnx_ir.Model:
    """Trace the decoder of an encoder-decoder, with its head and its cache.

    Past and present may be one buffer where :func:`find_cache_kind` says so.

    Args:
        model: In evaluation mode, fp32, with eager attention.
        opset: ONNX opset; by default the exporter's own choice.

    Returns:
        A graph with the inputs and outputs of the module's docstring.

    Raises:
        ExportError: the decoder cannot be traced for every size.
    """
    sample = sample_inputs(model)
    axes = _decoder_axes(sample)
    kind = find_cache_kind(model)
    with cached_attention(model, kind):
        program = export_to_onnx(model, Seq2SeqDecoder(model), sample, axes, opset)
    StateKnownDimensionsPass()(program)
    clean_up(program, axes)
    if kind == SHARED:
        SeparateSourceRowsPass()(program)
        ReadLengthFromInputPass(_PAST_TOKENS, PAST_SEQUENCE_LENGTH, "past_key_values.0.decoder.key", axis=2)(program)
    return program
