"""Reformer as a decoder: one graph for the prompt and for every step after it.

Inputs are ``input_ids``, of layer i ``past_key_values.{i}.key|value`` and, where it hashes, ``buckets``, and
``num_logits_to_keep``; outputs ``logits`` and ``present.{i}.key|value|buckets``. transformers keeps the states that
keys and values are made of. It drops the attention mask, so there is none, and padding is read like any token.

transformers reads a prompt in chunks, and sorts what it hashes into chunks. At a step it finds the chunk of the new
token among those of all tokens. Here the scores of every token with all others are computed, and each counts as often
as the other token is in the chunks that are seen: never, once, or more often where chunks overlap. Memory grows with
the square of a prompt.

At a step behind hashed tokens all rows of a batch see the keys and values of the first, as in transformers; which
states a row sees of it is decided by its own buckets. So rows have to be in transformers' order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from edgepipe.bundle.layout import LOGITS_TO_KEEP
from edgepipe_export.checkpoint.patches.reformer import (
    HIDDEN,
    ITSELF,
    chunk_lengths,
    count_buckets,
    draw_rotations,
    hash_tokens,
    merge_hashes,
    run_layers,
    split_heads,
)
from edgepipe_export.tracing.decoder import decoder_axes, last_positions
from edgepipe_export.tracing.kv_cache.cached_attention import CONCATENATED
from edgepipe_export.tracing.onnx_export import TracedModule, clean_up, export_to_onnx
from edgepipe_export.tracing.passes.make_input_optional import MakeInputOptionalPass

if TYPE_CHECKING:
    import onnx_ir
    from transformers import PreTrainedModel

    Layer = dict[str, torch.Tensor]

# Rows, new tokens and past ones in numbers that are not alike, as in the other decoders.
_BATCH, _NEW, _PAST = 2, 5, 11


class _Places:
    """Where the tokens of a call are in the text.

    Attributes:
        new: How many are new.
        total: How many there are, with those of the past.
        queries: int64[new].
        keys: int64[total].
        is_prompt: Whether there is no past, bool[].
        filled: How many tokens transformers makes of the new ones, int64[].
        is_short: Whether transformers reads them whole, as a prompt, bool[].
    """

    def __init__(self, config: Any, past: int, new: int) -> None:
        shortest, step = chunk_lengths(config)
        self.new, self.total = new, past + new
        self.keys = torch.arange(self.total)
        self.queries = torch.arange(new) + past
        self.is_prompt = torch.full((), past) == 0
        self.is_short = torch.full((), new) <= shortest
        self.filled = torch.where(self.is_short, new, torch.full((), step * ((new + step - 1) // step)))


class ReformerDecoder(TracedModule):
    """Reformer with its language modeling head, which takes and gives its cache as tensors with names.

    Attributes:
        rotations: What tokens are hashed by; None for a model that hashes nothing.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self.rotations = draw_rotations(model.config)

    def forward(
        self, input_ids: torch.Tensor, past_key_values: list[Layer], num_logits_to_keep: torch.Tensor
    ) -> dict[str, Any]:
        """Run the model.

        Args:
            input_ids: int64[batch, new].
            past_key_values: A layer's ``key`` and ``value`` each, float32[batch, heads, past, head_dim], and of one
                that hashes ``buckets``, int64[batch, heads, past, hashes].
            num_logits_to_keep: int64[], how many of the last positions to give scores for; 0 for all.

        Returns:
            ``logits``, float32[batch, kept, vocabulary], and ``present``, like `past_key_values` with the new tokens.
        """
        places = _Places(self.config, past_key_values[0]["key"].shape[2], input_ids.shape[1])
        present: list[Layer] = []

        def compute_attention(layer: Any, states: torch.Tensor) -> torch.Tensor:
            past = past_key_values[len(present)]
            attend = self._attend_by_hashes if "buckets" in past else _attend_to_neighbours
            seen, kept = attend(layer, states, past, places)
            present.append(kept)
            return seen

        output = run_layers(self.model.base_model, input_ids, places.queries, compute_attention)
        output = output[:, last_positions(places.new, num_logits_to_keep)]
        return {"logits": self.model.lm_head.forward_chunk(output), "present": present}

    def _attend_by_hashes(
        self, layer: Any, states: torch.Tensor, past: Layer, places: _Places
    ) -> tuple[torch.Tensor, Layer]:
        """``LSHSelfAttention.forward``.

        Args:
            layer: The layer.
            states: float32[batch, new, width].
            past: Its cache; keys are normalized.
            places: Where the tokens are.

        Returns:
            float32[batch, heads, new, head_dim], and the cache with the new tokens.
        """
        assert self.rotations is not None
        queries, values = split_heads(layer, layer.query_key(states)), split_heads(layer, layer.value(states))
        keys = layer._len_and_dim_norm(queries, layer.attention_head_size**0.5)
        kept = {"key": torch.cat([past["key"], keys], 2), "value": torch.cat([past["value"], values], 2)}
        buckets = hash_tokens(queries, self.rotations, count_buckets(self.config)[1])
        stored, is_hashed = _store_buckets(self.config, layer, past["buckets"].transpose(2, 3), buckets, places)
        kept["buckets"] = stored.transpose(2, 3)

        first = is_hashed & ~places.is_prompt
        keys, values = (torch.where(first, kept[name][:1], kept[name]) for name in ("key", "value"))
        dots = (queries @ keys.transpose(-1, -2))[:, :, None]
        dots = torch.where(places.queries[:, None] >= places.keys, dots, HIDDEN)
        dots = torch.where(places.queries[:, None] == places.keys, ITSELF, dots)
        counts = torch.where(is_hashed, _count_in_chunks(layer, stored, places), 1)
        # As transformers' logsumexp over chunks, where a token that is there twice counts twice.
        dots = torch.where(counts > 0, dots, HIDDEN)
        highest = dots.amax(-1, keepdim=True)
        logits = highest + (counts * (dots - highest).exp()).sum(-1, keepdim=True).log()
        outputs = (counts * (dots - logits).exp()) @ values[:, :, None]
        return merge_hashes(outputs, torch.where(is_hashed, logits, 0.0)), kept


def _attend_to_neighbours(layer: Any, states: torch.Tensor, past: Layer, places: _Places) -> tuple[torch.Tensor, Layer]:
    """``LocalSelfAttention.forward``; see :meth:`ReformerDecoder._attend_by_hashes`. Keys are scaled."""
    queries, keys, values = (split_heads(layer, each(states)) for each in (layer.query, layer.key, layer.value))
    keys = torch.cat([past["key"], keys / layer.attention_head_size**0.5], 2)
    values = torch.cat([past["value"], values], 2)
    first = (places.queries // layer.chunk_length - layer.num_chunks_before) * layer.chunk_length
    visible = (places.keys >= first[:, None]) & (places.keys <= places.queries[:, None])
    dots = torch.where(visible, queries @ keys.transpose(-1, -2), HIDDEN)
    return dots.softmax(-1) @ values, {"key": keys, "value": values}


def _store_buckets(
    config: Any, layer: Any, past: torch.Tensor, new: torch.Tensor, places: _Places
) -> tuple[torch.Tensor, torch.Tensor]:
    """The buckets of all tokens as transformers' ``past_buckets_states`` has them, and whether they are used now.

    As long as transformers has none, since it reads all tokens whole, -1 - bucket stands for each. It makes them of a
    prompt of several chunks, or at the step at which a whole chunk is there. Then each hash has an offset. It is one
    larger where a prompt is filled up, for padding has a bucket of its own; later tokens have that offset only where
    some bucket is too high for the other.

    Args:
        config: The model's config.
        layer: The layer.
        past: int64[batch, heads, hashes, past].
        new: Without offset, int64[batch, heads, hashes, new].
        places: Where the tokens are.

    Returns:
        int64[batch, heads, hashes, total] and bool[].
    """
    count = count_buckets(config)[0]
    hashes = torch.arange(config.num_hashes)[:, None]
    highest = torch.cat([past.flatten(), torch.tensor([-1])]).max()
    is_whole = places.is_short | (places.filled <= layer.chunk_length)
    # Of a prompt the past is empty, and its highest bucket -1. onnxruntime cannot choose between truth values.
    is_hashed = (places.is_prompt & ~is_whole) | (highest >= 0)
    is_larger = (places.is_prompt & (places.filled != places.new)) | (highest > config.num_hashes * count - 1)
    known = torch.cat([past, new + hashes * (count + is_larger.long())], -1)
    unknown = torch.cat([past, -1 - new], -1)
    begins = ~places.is_prompt & (torch.full((), places.total) >= layer.chunk_length)
    unknown = torch.where(begins, -1 - unknown + hashes * count, unknown)
    return torch.where(is_hashed, known, unknown), is_hashed


def _count_in_chunks(layer: Any, buckets: torch.Tensor, places: _Places) -> torch.Tensor:
    """How often each token is in the chunks that each new token sees, int64[batch, heads, hashes, new, total].

    Args:
        layer: The layer.
        buckets: int64[batch, heads, hashes, total].
        places: Where the tokens are.
    """
    total, length, before = torch.full((), places.total), layer.chunk_length, layer.num_chunks_before
    order = (total * buckets + places.keys).argsort(-1)
    ranks = torch.zeros_like(order).scatter(-1, order, places.keys.expand(order.shape))
    queries = ranks[..., places.total - places.new :, None]
    keys = ranks[..., None, :]
    # In a prompt: the chunks of all hashes are in one row, whose first one is behind the last.
    own = keys // length == queries // length
    if before == 0:
        in_prompt = own.long()
    else:
        last = keys.roll(1, 2) // length == places.filled // length - 1
        is_first, one_less = queries < length, keys // length == queries // length - 1
        in_prompt = own.long() + ((is_first & last) | (~is_first & one_less)).long()
    # At a step: from the beginning of the chunk before, as many as the chunks have, around the end of the text.
    span = (before + 1) * length
    distance = (keys - (queries // length - before) * length) % total
    at_step = (span - distance + total - 1) // total
    return torch.where(places.is_prompt, in_prompt, at_step)


def sample_inputs(model: PreTrainedModel) -> dict[str, Any]:
    """Inputs to trace with: int64[2, 5] ids behind a past of 11."""
    config = model.config
    body: Any = model.base_model
    shape = (_BATCH, config.num_attention_heads, _PAST)

    def past(layer: Any) -> Layer:
        states = {name: torch.zeros((*shape, config.attention_head_size)) for name in ("key", "value")}
        buckets = torch.zeros((*shape, config.num_hashes), dtype=torch.int64)
        return states | ({"buckets": buckets} if hasattr(layer.attention.self_attention, "num_hashes") else {})

    return {
        "input_ids": torch.arange(_BATCH * _NEW).reshape(_BATCH, _NEW) % config.vocab_size,
        "past_key_values": [past(layer) for layer in body.encoder.layers],
        LOGITS_TO_KEEP: torch.tensor(1),
    }


def trace_reformer_decoder(model: PreTrainedModel, opset: int | None = None) -> tuple[onnx_ir.Model, dict[str, Any]]:
    """Trace Reformer's language model.

    Args:
        model: In evaluation mode, fp32.
        opset: ONNX opset; by default the exporter's own choice.

    Returns:
        The graph, as the module describes it, and what a recipe says of its cache: its kind, see
        :mod:`edgepipe_export.tracing.kv_cache.cached_attention`.
    """
    sample = sample_inputs(model)
    axes = decoder_axes(sample)
    program = export_to_onnx(model, ReformerDecoder(model), sample, axes, opset)
    clean_up(program, axes)
    MakeInputOptionalPass(LOGITS_TO_KEEP, 0)(program)
    return program, {"cache": CONCATENATED}
