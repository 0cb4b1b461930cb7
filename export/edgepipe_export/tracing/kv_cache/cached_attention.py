"""Self-attention with a cache as one node, ``com.microsoft.GroupQueryAttention``, which can write into a buffer.

A traced cache is a concatenation: every step copies the keys and values of all tokens before it. GroupQueryAttention
appends to its past in place where past and present are one buffer, and gives past and present as usual where they are
not. So the graph has the same inputs and outputs either way.

Transformers' models look their attention up by name (``AttentionInterface``). They compute masks, positions, rotary
embeddings, key-value heads and sliding windows outside of it. So a name of ours takes its place for one trace, and
nothing of a model's own code is repeated here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from edgepipe_export.checkpoint.architectures import find_architecture
from edgepipe_export.tracing.kv_cache.cache_layers import add_biases, cap_scores, clear_layers, take_layer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAME = "edgepipe_cached"

# How a graph can have a cache: past and present may be one buffer, or are tensors that every step copies.
SHARED, CONCATENATED, NO_CACHE = "shared", "concatenated", "none"


def find_cache_kind(model: PreTrainedModel) -> str:
    """The kind of cache that a graph of the model can have, if the model has a cache."""
    return SHARED if model._can_set_attn_implementation() and not _attends_by_itself(model) else CONCATENATED


def _attends_by_itself(model: PreTrainedModel) -> bool:
    """Whether attention is more than a function of queries, keys and values, or its cache something else than these.

    Sinks are scores beside those of the tokens. Latent attention (DeepSeek's) caches what keys and values are made of.
    """
    has_sinks = any(name.endswith(".sinks") for name, _ in model.named_parameters())
    is_latent = getattr(model.config.get_text_config(), "kv_lora_rank", None) is not None
    return has_sinks or is_latent or find_architecture(model).attends_by_itself


@contextmanager
def cached_attention(model: PreTrainedModel, kind: str = SHARED) -> Iterator[None]:
    """Have the layers of the model's cache compute attention while the block runs; nothing for other kinds of cache."""
    if kind != SHARED:
        yield
        return
    own = model.config._attn_implementation
    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, eager_mask)
    try:
        model.set_attn_implementation(_NAME)
        yield
    finally:
        clear_layers()
        model.set_attn_implementation(own)


def _attend(
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
        query: float32[batch, heads, new, head_dim].
        key: float32[batch, kv_heads, new, head_dim], what a layer of ours returned; without one all keys.
        value: As `key`.
        attention_mask: Added to the scores, float32[batch or 1, 1, new, total].
        scaling: Factor of the scores; 1 / sqrt(head_dim) by default.
        softcap: Bound of the scores, before the mask is added.
        position_bias: Added to the scores, float32[1, heads, new, total].
        **kwargs: What has no meaning outside of training, or is in the mask already.

    Returns:
        float32[batch, new, heads, head_dim], and no attention weights.
    """
    scale = float(query.shape[-1] ** -0.5 if scaling is None else scaling)
    layer = take_layer(key)
    if layer is None:
        bias = add_biases(position_bias, attention_mask)
        return _attend_without_cache(query, key, value, bias, scale, softcap), None
    return layer.attend(query, attention_mask, position_bias, scale, softcap), None


def _attend_without_cache(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
    softcap: float | None,
) -> torch.Tensor:
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scores = cap_scores(query @ key.transpose(-1, -2) * scale, softcap)
    return ((scores if bias is None else scores + bias).softmax(-1) @ value).transpose(1, 2)
