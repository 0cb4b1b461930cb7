"""Self-attention with a cache as one node, ``com.microsoft.GroupQueryAttention``, which can write into a buffer.

A traced cache is a concatenation: every step copies the keys and values of all tokens before it. GroupQueryAttention
appends to its past in place where past and present are one buffer, and gives past and present as usual where they are
not, so the graph has the same inputs and outputs either way.

Transformers' models look their attention up by name (``AttentionInterface``), and mask, positions, rotary embeddings,
groups of heads and sliding windows are made outside of it. So a name of ours takes its place for one trace, and nothing
of a model's own code is repeated here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache
from transformers.masking_utils import eager_mask

from edgepipe_export.tracing.cache_layers import Asked, Pair, WaitingLayer, forget

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAME = "edgepipe_cached"

_OPERATOR = "com.microsoft::GroupQueryAttention"


class CachedLayer(WaitingLayer):
    """One layer's keys and values: the past as inputs of the graph, the present as outputs of its node.

    Attributes:
        tokens: The same for all layers; see :class:`Tokens`.
        present: Keys and values of all tokens, once attention was computed.
    """

    def __init__(self, past: Pair, tokens: Tokens) -> None:
        super().__init__(past)
        self.tokens = tokens
        self.present: Pair | None = None

    def get_seq_length(self) -> int:
        """Tokens before."""
        return self.tokens.total - self.tokens.new

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Tokens that a mask has to cover, and the first of them."""
        return self.tokens.total, 0

    def handed(self, key_states: torch.Tensor, value_states: torch.Tensor) -> Pair:
        """Tensors of which only the shape means anything: that of all keys and values, past and new."""
        batch, groups, _, _ = key_states.shape
        return tuple(  # type: ignore[return-value]
            states.new_empty((batch, groups, self.tokens.total, states.shape[-1]))
            for states in (key_states, value_states)
        )

    def attend(self, asked: Asked) -> torch.Tensor:
        """See :class:`WaitingLayer`. A causal model's mask is applied twice, for the operator is causal by itself."""
        assert self.new is not None
        key, value = self.new
        batch, heads, new, width = asked.query.shape
        groups = key.shape[1]
        attributes: dict[str, Any] = {"num_heads": heads, "kv_num_heads": groups, "scale": asked.scale}
        if asked.softcap is not None:
            attributes["softcap"] = float(asked.softcap)
        present = (batch, groups, self.tokens.total, width)
        output, *states = torch.onnx.ops.symbolic_multi_out(
            _OPERATOR,
            [
                *(each.transpose(1, 2).flatten(2) for each in (asked.query, key, value)),
                *self.past,
                self.tokens.of_rows,
                self.tokens.of_batch,
                *(None, None, None),  # rotary tables and positions: the model has turned keys and queries already
                _sum(asked.position_bias, asked.mask),
            ],
            attributes,
            dtypes=(asked.query.dtype,) * 3,
            shapes=((batch, new, heads * width), present, present),
            version=1,
        )
        self.present = (states[0], states[1])
        return output.reshape(batch, new, heads, width)


class Tokens:
    """How many tokens a call is about.

    Attributes:
        total: Tokens before and new ones.
        new: New ones.
        of_batch: `total` as int32[], as the operator takes it.
        of_rows: One less, int32[batch], likewise.
    """

    def __init__(self, batch: int, total: int, new: int) -> None:
        self.total = total
        self.new = new
        self.of_batch = torch.full((), total, dtype=torch.int32)
        self.of_rows = torch.full((batch,), total - 1, dtype=torch.int32)


class CachedLayers(Cache):  # type: ignore[misc]
    """The cache of a model whose attention is :func:`cached_attention`."""

    def __init__(self, past: Sequence[Pair], batch: int, total: int, new: int) -> None:
        tokens = Tokens(batch, total, new)
        super().__init__(layers=[CachedLayer(pair, tokens) for pair in past])


@contextmanager
def cached_attention(model: PreTrainedModel) -> Iterator[None]:
    """Have a model compute attention over :class:`CachedLayers` while the block runs.

    Raises:
        ValueError: the model's attention cannot be replaced.
    """
    own = model.config._attn_implementation
    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, eager_mask)
    try:
        model.set_attn_implementation(_NAME)
        yield
    finally:
        forget()
        model.set_attn_implementation(own)


def can_have_cached_attention(model: PreTrainedModel) -> bool:
    """Whether the model looks its attention up by name."""
    return bool(model._can_set_attn_implementation())


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    position_bias: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it.

    Args:
        module: The layer's module.
        query: float32[batch, heads, new, width].
        key: float32[batch, groups, new, width], what a layer of ours handed over; without one all of them.
        value: As `key`.
        attention_mask: Added to the scores, float32[batch or 1, 1, new, total].
        scaling: Factor of the scores; 1 / sqrt(width) by default.
        softcap: Bound of the scores, before the mask is added.
        position_bias: Added to the scores, float32[1, heads, new, total].
        **kwargs: What has no meaning outside of training, or is in the mask already.

    Returns:
        float32[batch, new, heads, width], and no attention weights.
    """
    scale = float(query.shape[-1] ** -0.5 if scaling is None else scaling)
    layer = WaitingLayer.of(key)
    if layer is None:
        return _without_cache(query, key, value, _sum(position_bias, attention_mask), scale), None
    return layer.attend(Asked(query, attention_mask, position_bias, scale, softcap)), None


def _sum(*biases: torch.Tensor | None) -> torch.Tensor | None:
    given = [bias for bias in biases if bias is not None]
    return sum(given[1:], given[0]) if given else None


def _without_cache(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None, scale: float
) -> torch.Tensor:
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scores = query @ key.transpose(-1, -2) * scale
    return ((scores if bias is None else scores + bias).softmax(-1) @ value).transpose(1, 2)
