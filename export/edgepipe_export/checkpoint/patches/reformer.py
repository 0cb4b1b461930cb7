"""Reformer for any length: transformers decides in Python, from the text's length, how it pads and cuts a text.

Paper: https://huggingface.co/papers/2001.04451. A text up to the shortest chunk is read whole; a longer one is filled
up to whole chunks, of which each sees its neighbours, before the first one the last. Here every text is filled up and
cut. That gives the same numbers: padding is masked, and the tokens of a text that is read whole are left in their
order, in one chunk that sees no neighbour, instead of being hashed.

Rotations that hash tokens are drawn with ``hash_seed`` of the config, as transformers draws them on a processor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from transformers.models.reformer.modeling_reformer import ReformerModelOutput

from edgepipe.errors import ExportError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edgepipe_export.checkpoint.patches.model_patches import Patches

# Takes an attention layer and its states, float32[batch, length, width]; gives what they see, float32[batch, heads,
# length, head_dim].
AttentionFunction = Callable[[Any, torch.Tensor], torch.Tensor]

# Scores of what a token does not see, and of the token itself, which it sees where there is nothing else.
HIDDEN, ITSELF = -1e9, -1e5


def chunk_lengths(config: Any) -> tuple[int, int]:
    """The length of the shortest chunk, and the one that texts are filled up to multiples of."""
    lengths = [getattr(config, f"{kind}_attn_chunk_length") for kind in sorted(set(config.attn_layers))]
    return min(lengths), math.lcm(*lengths)


def longest_text(config: Any) -> int:
    """The longest text that has positions when it is filled up, in tokens."""
    shortest, step = chunk_lengths(config)
    positions: int = config.max_position_embeddings
    if config.axial_pos_embds:
        positions = min(positions, math.prod(config.axial_pos_shape))
    return max(positions // step * step, min(positions, shortest))


def traced_length(config: Any) -> int:
    """The length of a text to trace with: of several chunks, for the tracer takes one chunk for a constant."""
    return min(2 * chunk_lengths(config)[1] + 3, longest_text(config))


def hashes_at_random(model: Any) -> bool:
    """Whether a model draws its buckets anew at every call, or their number follows from the texts it has read."""
    config = model.config
    return "lsh" in config.attn_layers and None in (config.hash_seed, config.num_buckets)


def decodes_otherwise(model: Any) -> bool:
    """Whether a language model sees other tokens at a step than in a prompt, or cannot be stepped."""
    config = model.config
    if type(model).__name__ != "ReformerModelWithLMHead":
        return False
    far = any(getattr(config, f"{kind}_num_chunks_before") > 1 for kind in config.attn_layers)
    return far or ("lsh" in config.attn_layers and config.num_attention_heads >= config.lsh_attn_chunk_length)


def find_hashing(model: Any) -> list[Any]:
    """The layers of a model that hash tokens, whatever their seed."""
    return [module for module in model.modules() if hasattr(module, "hash_seed")]


def set_hash_seed(model: Any, seed: int) -> bool:
    """Have a model draw its rotations with a seed, in PyTorch too.

    Returns:
        False for a model that hashes nothing, which stays as it is.
    """
    hashing = find_hashing(model)
    for owner in (*hashing, model.config) if hashing else ():
        owner.hash_seed = seed
    return bool(hashing)


def count_buckets(config: Any) -> tuple[int, list[int]]:
    """How many buckets there are, and the factors that they are hashed by."""
    factors = [config.num_buckets] if isinstance(config.num_buckets, int) else list(config.num_buckets)
    return math.prod(factors), factors


def draw_rotations(config: Any) -> torch.Tensor | None:
    """What transformers' ``LSHSelfAttention._hash_vectors`` draws with the seed, for every layer and call alike.

    Returns:
        float32[heads, hashes, head_dim, half of the factors' sum]; None for a model that hashes nothing.
    """
    if "lsh" not in config.attn_layers:
        return None
    shape = (config.num_attention_heads, config.attention_head_size, config.num_hashes)
    size = sum(count_buckets(config)[1]) // 2
    drawn = torch.randn((*shape, size), generator=torch.Generator().manual_seed(config.hash_seed))
    return drawn.transpose(1, 2).contiguous()


def hash_tokens(vectors: torch.Tensor, rotations: torch.Tensor, factors: list[int]) -> torch.Tensor:
    """The bucket of each token.

    Args:
        vectors: Queries, which are keys too, float32[batch, heads, length, head_dim].
        rotations: See :func:`draw_rotations`.
        factors: See :func:`count_buckets`.

    Returns:
        int64[batch, heads, hashes, length], without an offset for each hash.
    """
    rotated = vectors[:, :, None] @ rotations
    buckets = torch.zeros(rotated.shape[:-1], dtype=torch.int64)
    start, product = 0, 1
    for factor in factors:
        part = rotated[..., start : start + factor // 2]
        buckets = buckets + product * torch.cat([part, -part], dim=-1).argmax(-1)
        start, product = start + factor // 2, product * factor
    return buckets


def _embed_positions(embeddings: Any, positions: torch.Tensor) -> torch.Tensor:
    """The embedding of each position, float32[length, width]; ``AxialPositionEmbeddings`` without its table of all.

    Args:
        embeddings: The model's position embeddings.
        positions: int64[length].
    """
    if not hasattr(embeddings, "axial_pos_shape"):
        found: torch.Tensor = embeddings.embedding(positions)
        return found
    rows, columns = embeddings.weights
    width = columns.shape[1]
    return torch.cat([rows[positions // width, 0], columns[0, positions % width]], dim=-1)


def split_heads(layer: Any, states: torch.Tensor) -> torch.Tensor:
    """float32[batch, length, heads * head_dim] as [batch, heads, length, head_dim]."""
    shape = (*states.shape[:2], layer.num_attention_heads, layer.attention_head_size)
    return states.reshape(shape).transpose(1, 2)


def attend(dots: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What queries see of values, [..., queries, head_dim], and the logarithm of their weights' sum, [..., queries, 1].

    Args:
        dots: Masked scores, float32[..., queries, keys].
        values: float32[..., keys, head_dim].
    """
    logits = dots.logsumexp(-1, keepdim=True)
    return (dots - logits).exp() @ values, logits


def merge_hashes(outputs: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """The sum of what each hash found, [batch, heads, hashes, length, head_dim], weighted by its logits.

    Not by a softmax: the logits of a token that sees itself alone are so large that transformers' weights of it are
    rounded, and these are to be the same.
    """
    return (outputs * (logits - logits.logsumexp(2, keepdim=True)).exp()).sum(2)


def _look_adjacent(layer: Any, chunks: torch.Tensor) -> torch.Tensor:
    """Each chunk behind those before it and before those after it, [batch, heads, chunks, length of the three, ...]."""
    count, places = torch.full((), chunks.shape[2]), torch.arange(chunks.shape[2])
    found = []
    for shift in range(-layer.num_chunks_before, layer.num_chunks_after + 1):
        # transformers cuts at the shift, which leaves all in place where there are fewer chunks.
        source = (places + torch.where(count < abs(shift), 0, shift)) % count
        found.append(chunks if shift == 0 else chunks.index_select(2, source))
    return torch.cat(found, dim=3)


def _hide(
    layer: Any,
    dots: torch.Tensor,
    places: torch.Tensor,
    seen: torch.Tensor,
    is_whole: torch.Tensor,
    itself: float | None,
) -> torch.Tensor:
    """Scores of queries and keys, with those in their place that are not to be seen.

    Args:
        layer: The attention layer.
        dots: float32[batch, heads, chunks, length, keys].
        places: The place in the text of each token of each chunk, int64[batch, heads, chunks, length].
        seen: Whether that token is none of padding, likewise bool.
        is_whole: Whether the text is one chunk, which sees no neighbour, bool[].
        itself: The score of a token and itself; None for its own.
    """
    queries, keys = places[..., None], _look_adjacent(layer, places)[..., None, :]
    visible = _look_adjacent(layer, seen)[..., None, :]
    if layer.is_decoder:
        visible = visible & (queries >= keys)
    dots = torch.where(visible, dots, HIDDEN)
    if itself is not None:
        dots = torch.where(queries == keys, itself, dots)
    key_chunk = torch.arange(keys.shape[-1]) // layer.chunk_length
    return dots.masked_fill(is_whole & (key_chunk != layer.num_chunks_before), HIDDEN)


def _is_one_chunk(layer: Any, states: torch.Tensor) -> torch.Tensor:
    """Whether states, [batch, length, width], are a single chunk, bool[]."""
    is_one: torch.Tensor = torch.full((), states.shape[1]) <= layer.chunk_length
    return is_one


def attend_in_chunks(layer: Any, states: torch.Tensor, mask: torch.Tensor, is_short: torch.Tensor) -> torch.Tensor:
    """``LocalSelfAttention.forward`` of a text that is filled up.

    Args:
        layer: The layer.
        states: float32[batch, length, width].
        mask: Whether a token is none of padding, bool[batch, length].
        is_short: Whether transformers reads the text whole, bool[].

    Returns:
        float32[batch, heads, length, head_dim].
    """

    def cut(projection: Any) -> torch.Tensor:
        whole = split_heads(layer, projection(states))
        chunks: torch.Tensor = whole.reshape(*whole.shape[:2], -1, layer.chunk_length, layer.attention_head_size)
        return chunks

    keys = cut(layer.key) / layer.attention_head_size**0.5
    places = torch.arange(states.shape[1]).reshape(1, 1, -1, layer.chunk_length)
    seen = mask.reshape(mask.shape[0], 1, -1, layer.chunk_length)
    dots = cut(layer.query) @ _look_adjacent(layer, keys).transpose(-1, -2)
    dots = _hide(layer, dots, places, seen, is_short | _is_one_chunk(layer, states), None)
    outputs, _ = attend(dots, _look_adjacent(layer, cut(layer.value)))
    return outputs.flatten(2, 3)


def attend_by_hashes(
    layer: Any, states: torch.Tensor, mask: torch.Tensor, is_short: torch.Tensor, rotations: torch.Tensor
) -> torch.Tensor:
    """``LSHSelfAttention.forward`` of a text that is filled up: tokens are sorted by bucket, and cut into chunks.

    Args:
        layer: The layer.
        states: float32[batch, length, width].
        mask: Whether a token is none of padding, bool[batch, length].
        is_short: Whether transformers reads the text whole, bool[].
        rotations: See :func:`draw_rotations`.

    Returns:
        float32[batch, heads, length, head_dim].
    """
    batch, length, _ = states.shape
    vectors, values = split_heads(layer, layer.query_key(states)), split_heads(layer, layer.value(states))
    count, factors = count_buckets(layer.config)
    is_whole = is_short | _is_one_chunk(layer, states)
    buckets = hash_tokens(vectors, rotations, factors).masked_fill(is_whole, 0)
    # Padding has a bucket of its own.
    buckets = buckets.masked_fill(~mask[:, None, None], count)
    places = torch.arange(length)
    order = (length * buckets + places).argsort(-1)  # no two are equal, so that it is stable
    heads, hashes = order.shape[1:3]

    def sort(tensor: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        """float32[batch, heads, hashes or 1, length, width] in another order of its tokens."""
        expanded = tensor.expand(batch, heads, hashes, length, tensor.shape[-1])
        return expanded.gather(3, by[..., None].expand(expanded.shape))

    def cut(tensor: torch.Tensor) -> torch.Tensor:
        """Chunks of all hashes, one after the other: [batch, heads, chunks, chunk_length, ...]."""
        return tensor.reshape(batch, heads, -1, layer.chunk_length, *tensor.shape[4:])

    queries = cut(sort(vectors[:, :, None], order))
    keys = layer._len_and_dim_norm(queries, layer.attention_head_size**0.5)
    seen = mask[:, None, None].expand(order.shape).gather(3, order)
    dots = queries @ _look_adjacent(layer, keys).transpose(-1, -2)
    dots = _hide(layer, dots, cut(order), cut(seen), is_whole, ITSELF)
    found = attend(dots, _look_adjacent(layer, cut(sort(values[:, :, None], order))))
    back = torch.zeros_like(order).scatter(3, order, places.expand(order.shape))
    outputs, logits = (sort(each.reshape(batch, heads, hashes, length, each.shape[-1]), back) for each in found)
    return merge_hashes(outputs, logits.masked_fill(is_whole, 0.0))  # all hashes of a whole text find the same


def run_layers(
    body: Any, ids: torch.Tensor, positions: torch.Tensor, compute_attention: AttentionFunction
) -> torch.Tensor:
    """``ReformerModel.forward`` with another attention: embeddings, the two streams of the layers, and the last norm.

    Args:
        body: The model.
        ids: int64[batch, length].
        positions: Of the tokens, int64[length].
        compute_attention: Called once for each layer, in their order.

    Returns:
        float32[batch, length, 2 * width].
    """
    embeddings = body.embeddings
    states = embeddings.word_embeddings(ids) + _embed_positions(embeddings.position_embeddings, positions)
    before = states
    for layer in body.encoder.layers:
        attention = layer.attention
        seen = compute_attention(attention.self_attention, attention.layer_norm(states))
        before = before + attention.output(seen.transpose(1, 2).flatten(2))
        states = states + layer.feed_forward.forward_chunk(before)
    output: torch.Tensor = body.encoder.layer_norm(torch.cat([before, states], dim=-1))
    return output


def reformer_patches(model: PreTrainedModel) -> Patches:
    """Of Reformer."""
    rotations = draw_rotations(model.config)

    def read(
        body: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **options: Any,
    ) -> Any:
        """``ReformerModel.forward`` without a cache.

        Args:
            body: The model.
            input_ids: int64[batch, length].
            attention_mask: int64[batch, length], 0 for padding.
            output_hidden_states: Must not be True: what transformers gives is as long as the chunks.
            output_attentions: Likewise.
            **options: What has no meaning here.
        """
        if output_hidden_states or output_attentions:
            raise ExportError("Reformer's layers cannot be outputs: they are as long as its chunks, not as the text")
        config, length = body.config, input_ids.shape[1]
        shortest, step = chunk_lengths(config)
        places = torch.arange(step * ((length + step - 1) // step))
        within = places < length
        source = places.clamp(max=length - 1)
        ids = torch.where(within, input_ids[:, source], config.pad_token_id or 0)
        mask = within.expand(ids.shape)
        if attention_mask is not None:
            mask = mask & (attention_mask[:, source] != 0)
        is_short = torch.full((), length) <= shortest
        positions = places.clamp(max=longest_text(config) - 1)

        def compute_attention(layer: Any, states: torch.Tensor) -> torch.Tensor:
            if not hasattr(layer, "num_hashes"):
                return attend_in_chunks(layer, states, mask, is_short)
            assert rotations is not None
            return attend_by_hashes(layer, states, mask, is_short, rotations)

        return ReformerModelOutput(last_hidden_state=run_layers(body, ids, positions, compute_attention)[:, :length])

    def score(head: Any, hidden_states: torch.Tensor) -> Any:
        """``ReformerOnlyLMHead.forward`` in one piece."""
        return head.forward_chunk(hidden_states)

    return {"ReformerModel.forward": read, "ReformerOnlyLMHead.forward": score}
