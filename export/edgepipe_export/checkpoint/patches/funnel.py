"""Funnel Transformer for any length: transformers decides in Python, from the text's length, how it pools.

Paper: https://huggingface.co/papers/2006.03236. Numbers are those of transformers for every text that it takes; it
fails at very short ones, and what is here goes on.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers.modeling_outputs import BaseModelOutput

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edgepipe_export.checkpoint.patches.model_patches import Patches


_larger: Callable[[int, int], int] = torch.sym_max
_smaller: Callable[[int, int], int] = torch.sym_min


def pooled_length(structure: Any, length: int) -> int:
    """How many tokens pooling leaves of `length`, which may be symbolic."""
    config = structure.config
    if not config.separate_cls:
        return (length + 1) // 2
    if not config.truncate_seq:
        return (length + 2) // 2
    # Two tokens stay two.
    return _larger((length + 1) // 2, _smaller(length, 2))


def pooled_pairs(structure: Any, length: int) -> torch.Tensor:
    """Which two tokens each pooled one is of, int64[pooled, 2]; both are the same where there is one.

    The first token stays alone under ``separate_cls``. With ``truncate_seq`` the last one is left out.
    """
    config = structure.config
    alone, last = 0, length - 1
    if config.separate_cls:
        alone = 1
        if config.truncate_seq:
            last = _larger(length - 2, _smaller(length - 1, 1))
    flat = torch.arange(2 * pooled_length(structure, length)) - alone
    return torch.minimum(flat.clamp(min=0), torch.full((), last)).reshape(-1, 2)


def stride_pool(structure: Any, tensor: Any, axis: int | Sequence[int]) -> Any:
    """``FunnelAttentionStructure.stride_pool``: the first token of each pair."""
    if tensor is None:
        return None
    if isinstance(axis, (list, tuple)):
        for each in axis:
            tensor = stride_pool(structure, tensor, each)
        return tensor
    if isinstance(tensor, (list, tuple)):
        return type(tensor)(stride_pool(structure, each, axis) for each in tensor)
    axis %= tensor.ndim  # transformers pools axes 1 and 2 of what has two
    return tensor.index_select(axis, pooled_pairs(structure, tensor.shape[axis])[:, 0])


def pool_tensor(structure: Any, tensor: Any, mode: str = "mean", stride: int = 2) -> Any:
    """``FunnelAttentionStructure.pool_tensor``: the mean, the largest or the least of each pair along axis 1."""
    if tensor is None:
        return None
    if isinstance(tensor, (list, tuple)):
        return type(tensor)(pool_tensor(structure, each, mode) for each in tensor)
    pairs = pooled_pairs(structure, tensor.shape[1])
    first, second = tensor.index_select(1, pairs[:, 0]), tensor.index_select(1, pairs[:, 1])
    if mode == "mean":
        return (first + second) / 2
    return torch.maximum(first, second) if mode == "max" else torch.minimum(first, second)


@dataclass(frozen=True, slots=True)
class RelativePositions:
    """The embeddings of all distances between queries and keys (the paper's appendix A.2.1).

    Attributes:
        embeddings: float32[shift * queries + keys, width], of the longest distance first.
        shift: 2 where the queries are pooled and the keys are not, 1 where both are alike.
    """

    embeddings: torch.Tensor
    shift: int


def embed_distances(
    structure: Any, queries: int, keys: int, dtype: torch.dtype, *, stride: int = 1, is_pooling: bool = False
) -> RelativePositions:
    """Embed the distances of one layer.

    Args:
        structure: ``FunnelAttentionStructure``.
        queries: How many queries there are; may be symbolic, as `keys` may.
        keys: How many keys there are.
        dtype: Of the embeddings.
        stride: How far apart neighbouring keys are.
        is_pooling: Whether queries are twice as far apart.
    """
    config = structure.config
    shift = 2 if is_pooling else 1
    first = -stride if is_pooling and config.separate_cls else 0
    distances = shift * queries * stride + first - stride * torch.arange(shift * queries + keys)
    half = config.d_model // 2
    frequencies = 1 / (10000 ** (torch.arange(half).to(dtype) / half))
    angles = distances[:, None].to(dtype) * frequencies[None]
    return RelativePositions(torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1), shift)


def encode(
    encoder: Any,
    inputs_embeds: torch.Tensor,
    attention_mask: torch.Tensor,
    token_type_ids: torch.Tensor | None = None,
    output_attentions: bool = False,
    output_hidden_states: bool = False,
    return_dict: bool = True,
) -> Any:
    """``FunnelEncoder.forward``, which pools before each block but the first, whatever the length."""
    structure, config = encoder.attention_structure, encoder.config
    is_relative = config.attention_type == "relative_shift"
    inputs = structure.init_attention_inputs(
        inputs_embeds, attention_mask=attention_mask.type_as(inputs_embeds), token_type_ids=token_type_ids
    )
    hidden = inputs_embeds
    states, attentions = [inputs_embeds], list[torch.Tensor]()
    for index, block in enumerate(encoder.blocks):
        layers = [layer for layer in block for _ in range(config.block_repeats[index])]
        for number, layer in enumerate(layers):
            pools = index > 0 and number == 0
            query = keys = hidden
            if pools:
                query, inputs = structure.pre_attention_pooling(hidden, inputs)
                keys = hidden if config.pool_q_only else query
            if is_relative:
                is_pooling = pools and config.pool_q_only
                positions = embed_distances(
                    structure,
                    query.shape[1],
                    keys.shape[1],
                    hidden.dtype,
                    stride=2 ** (index - 1) if is_pooling else 2**index,
                    is_pooling=is_pooling,
                )
                inputs = (positions, *inputs[1:])
            hidden, *weights = layer(query, keys, keys, inputs, output_attentions=output_attentions)
            attentions += weights
            states.append(hidden)
            if pools:
                inputs = structure.post_attention_pooling(inputs)
    result = BaseModelOutput(
        last_hidden_state=hidden,
        hidden_states=tuple(states) if output_hidden_states else None,
        attentions=tuple(attentions) if output_attentions else None,
    )
    return result if return_dict else result.to_tuple()


def fewest_funnel_tokens(config: Mapping[str, Any]) -> int:
    """The length from which on transformers takes every text.

    It looks distances up in a table of 4 times the text's length, which is too short where pooling rounds up a lot; and
    it pools the positions of two tokens whose states it does not pool any more.

    Args:
        config: The content of ``config.json``.
    """
    blocks = len(config.get("block_sizes", (4, 4, 4)))
    if config.get("attention_type", "relative_shift") != "relative_shift":
        return 1
    keeps_cls = config.get("separate_cls", True)
    truncates = keeps_cls and config.get("truncate_seq", True)

    def is_taken(length: int) -> bool:
        tokens = length
        for block in range(1, blocks):
            if truncates and tokens <= 2:
                return False
            tokens = (tokens + (2 if keeps_cls and not truncates else 1)) // 2
            if tokens * 2**block >= 2 * length:
                return False
        return True

    # Pooling rounds up by no more than two tokens of the last block.
    failing = [length for length in range(1, 2 ** (blocks + 1)) if not is_taken(length)]
    return max(failing, default=0) + 1


def funnel_patches(model: PreTrainedModel) -> Patches:
    """Of Funnel Transformer."""
    module: Any = importlib.import_module(type(model).__module__)
    attention, structure = module.FunnelRelMultiheadAttention, module.FunnelAttentionStructure
    factorized_positions, factorized_scores = structure.get_position_embeds, attention.relative_positional_attention

    def get_position_embeds(structure: Any, length: int, dtype: torch.dtype, device: torch.device) -> Any:
        """Of the first block, and of the decoder, which pools nothing."""
        if structure.config.attention_type == "factorized":
            return factorized_positions(structure, length, dtype, device)
        return embed_distances(structure, length, length, dtype)

    def relative_positional_attention(
        layer: Any, positions: Any, queries: torch.Tensor, keys: int, cls_mask: torch.Tensor | None = None
    ) -> Any:
        """The part of the scores that comes from distances, float32[batch, heads, queries, keys]."""
        if not isinstance(positions, RelativePositions):
            return factorized_scores(layer, positions, queries, keys, cls_mask)
        distances = torch.einsum("td,dnh->tnh", positions.embeddings, layer.r_kernel)
        scores = torch.einsum("binh,tnh->bnit", queries + layer.r_r_bias * layer.scale, distances)
        scores = module._relative_shift_gather(scores, keys, positions.shift)
        return scores if cls_mask is None else scores * cls_mask

    return {
        "FunnelAttentionStructure.get_position_embeds": get_position_embeds,
        "FunnelAttentionStructure.stride_pool": stride_pool,
        "FunnelAttentionStructure.pool_tensor": pool_tensor,
        "FunnelEncoder.forward": encode,
        "FunnelRelMultiheadAttention.relative_positional_attention": relative_positional_attention,
    }
