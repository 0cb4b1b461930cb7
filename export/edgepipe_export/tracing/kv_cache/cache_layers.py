"""Layers of a key-value cache that compute attention over it, while a model is traced.

A model gives its new keys to a layer of its cache, and what that layer returns to its attention function. So the layer
returns tensors by which the attention function finds it again
(:mod:`edgepipe_export.tracing.kv_cache.cached_attention`), and has it compute attention. Past and new keys need not be
concatenated then.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

KeyValue = tuple[torch.Tensor, torch.Tensor]

# The keys that layers have returned and whose attention is still to come, in order. One trace runs at a time.
_pending: list[tuple[torch.Tensor, AttendingLayer]] = []


class AttendingLayer(DynamicLayer):  # type: ignore[misc]
    """One layer of a cache.

    Attributes:
        past: Keys and values from before, float32[batch, kv_heads, past, head_dim] each.
        new: Those that the model has computed now, likewise; None until it has.
    """

    def __init__(self, past: KeyValue) -> None:
        super().__init__()
        self.past = past
        self.new: KeyValue | None = None

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> KeyValue:
        """Keep the new keys and values; returns what the attention function is to get for them."""
        self.new = (key_states, value_states)
        returned = self.represent(key_states, value_states)
        _pending.append((returned[0], self))
        return returned

    def represent(self, key_states: torch.Tensor, value_states: torch.Tensor) -> KeyValue:
        """What the model takes for all keys and values of the layer."""
        return key_states, value_states

    def attend(
        self,
        query: torch.Tensor,
        mask: torch.Tensor | None,
        position_bias: torch.Tensor | None,
        scale: float,
        softcap: float | None,
    ) -> torch.Tensor:
        """Attention of new tokens over past and new ones.

        Args:
            query: float32[batch, heads, new, head_dim].
            mask: Added to the scores, float32[batch or 1, 1, new, total].
            position_bias: Added to the scores, float32[1, heads, new, total].
            scale: Factor of the scores.
            softcap: Bound of the scores, before anything is added.

        Returns:
            float32[batch, new, heads, head_dim].
        """
        raise NotImplementedError


def take_layer(key: torch.Tensor) -> AttendingLayer | None:
    """The layer that returned these very keys, if one did; each is found once."""
    for index, (returned, layer) in enumerate(_pending):
        if returned is key:
            del _pending[index]
            return layer
    return None


def clear_layers() -> None:
    """Drop the layers of a trace that ended."""
    _pending.clear()


def sample_past(layer: DynamicLayer, batch: int, length: int) -> dict[str, torch.Tensor]:
    """Keys and values to trace with, shaped as those of a layer that a model has filled.

    Returns:
        ``key`` and ``value``, float32[batch, kv_heads, length, head_dim].
    """
    states = {"key": layer.keys, "value": layer.values}
    return {name: torch.zeros((batch, each.shape[1], length, each.shape[3])) for name, each in states.items()}


def add_biases(*biases: torch.Tensor | None) -> torch.Tensor | None:
    """The sum of the biases that are there."""
    given = [bias for bias in biases if bias is not None]
    return sum(given[1:], given[0]) if given else None


def cap_scores(scores: torch.Tensor, softcap: float | None) -> torch.Tensor:
    """Scores of attention within a bound; as they are where there is none."""
    return scores if softcap is None else torch.tanh(scores / softcap) * softcap


class _TokenCounts:
    """How many tokens a call is about, also as ``GroupQueryAttention`` takes it.

    Attributes:
        total: Past and new tokens.
        new: New tokens.
        total_sequence_length: `total`, int32[].
        seqlens_k: One less for each row, int32[batch].
    """

    def __init__(self, batch: int, total: int, new: int) -> None:
        self.total = total
        self.new = new
        self.total_sequence_length = torch.full((), total, dtype=torch.int32)
        self.seqlens_k = torch.full((batch,), total - 1, dtype=torch.int32)


class GroupQueryLayer(AttendingLayer):
    """Attention as one node: the past is an input of the graph, the present an output of ``GroupQueryAttention``.

    Attributes:
        counts: All tokens; the same for all layers.
        held: The last of them, which the layer has keys and values of.
        present: Keys and values of these, once attention was computed.
    """

    def __init__(self, past: KeyValue, counts: _TokenCounts, held: _TokenCounts) -> None:
        super().__init__(past)
        self.counts = counts
        self.held = held
        self.present: KeyValue | None = None

    def get_seq_length(self) -> int:
        """Tokens before."""
        return self.counts.total - self.counts.new

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Tokens that a mask has to cover, and the first of them."""
        return self.counts.total, 0

    def represent(self, key_states: torch.Tensor, value_states: torch.Tensor) -> KeyValue:
        """Tensors of which only the shape means anything: that of all keys and values, past and new."""
        batch, kv_heads, _, _ = key_states.shape
        return tuple(  # type: ignore[return-value]
            states.new_empty((batch, kv_heads, self.counts.total, states.shape[-1]))
            for states in (key_states, value_states)
        )

    def attend(
        self,
        query: torch.Tensor,
        mask: torch.Tensor | None,
        position_bias: torch.Tensor | None,
        scale: float,
        softcap: float | None,
    ) -> torch.Tensor:
        """See :class:`AttendingLayer`. A causal model's mask is applied twice: the operator is causal by itself."""
        assert self.new is not None
        key, value = self.new
        batch, heads, new, head_dim = query.shape
        kv_heads = key.shape[1]
        attributes: dict[str, Any] = {"num_heads": heads, "kv_num_heads": kv_heads, "scale": scale}
        if softcap is not None:
            attributes["softcap"] = float(softcap)
        bias = add_biases(position_bias, mask)
        if self.held is not self.counts and bias is not None:
            bias = bias[..., self.counts.total - self.held.total :]
        present = (batch, kv_heads, self.held.total, head_dim)
        output, *states = torch.onnx.ops.symbolic_multi_out(
            "com.microsoft::GroupQueryAttention",
            [
                *(each.transpose(1, 2).flatten(2) for each in (query, key, value)),
                *self.past,
                self.held.seqlens_k,
                self.held.total_sequence_length,
                *(None, None, None),  # rotary tables and positions: the model has turned keys and queries already
                bias,
            ],
            attributes,
            dtypes=(query.dtype,) * 3,
            shapes=((batch, new, heads * head_dim), present, present),
            version=1,
        )
        self.present = (states[0], states[1])
        return output.reshape(batch, new, heads, head_dim)


class GroupQueryCache(Cache):  # type: ignore[misc]
    """The cache of a decoder's self-attention."""

    def __init__(
        self,
        past: Sequence[KeyValue],
        batch: int,
        total: int,
        new: int,
        *,
        windowed: Set[int] = frozenset(),
        held: int = 0,
    ) -> None:
        """Begin.

        Args:
            past: Keys and values of each layer.
            batch: How many rows.
            total: Past and new tokens.
            new: New tokens.
            windowed: The layers that have keys and values of the last tokens alone.
            held: How many of the past tokens these have.
        """
        counts = _TokenCounts(batch, total, new)
        last = _TokenCounts(batch, held + new, new) if windowed else counts
        each = [last if index in windowed else counts for index in range(len(past))]
        super().__init__(layers=[GroupQueryLayer(pair, counts, own) for pair, own in zip(past, each, strict=True)])


class CrossAttentionLayer(AttendingLayer):
    """The source's keys and values for one layer of a decoder.

    Those before were projected at the first step, and are empty at that step; new ones are empty at later steps.
    Concatenating them would copy the keys of the whole source for every token and every beam. So the scores, which are
    few, are computed for each and concatenated, and the values are summed up by each.
    """

    def get_seq_length(self) -> int:
        """Tokens of the source that were projected before."""
        length: int = self.past[0].shape[2]  # not made an int: while tracing it is a symbol
        return length

    def attend(
        self,
        query: torch.Tensor,
        mask: torch.Tensor | None,
        position_bias: torch.Tensor | None,
        scale: float,
        softcap: float | None,
    ) -> torch.Tensor:
        """See :class:`AttendingLayer`. No model has a bias for the source but T5, whose bias is zero."""
        assert self.new is not None
        scaled = query * scale
        parts = (self.past, self.new)
        scores = cap_scores(torch.cat([scaled @ keys.transpose(-1, -2) for keys, _ in parts], -1), softcap)
        weights = (scores if mask is None else scores + mask).softmax(-1)
        before = self.past[0].shape[2]
        each = (weights[..., :before], weights[..., before:])
        output = sum(weight @ values for weight, (_, values) in zip(each, parts, strict=True))
        assert isinstance(output, torch.Tensor)
        return output.transpose(1, 2)


class CrossAttentionCache(Cache):  # type: ignore[misc]
    """The source's keys and values for all layers of a decoder."""

    def __init__(self, past: Sequence[KeyValue]) -> None:
        super().__init__(layers=[CrossAttentionLayer(pair) for pair in past])
