"""Code with the results of transformers' own that can be traced where transformers' own cannot.

Each function takes the place of one of transformers' while a model is traced. It gives the original's numbers for every
input that the original takes. Which model type needs which is in :mod:`edgepipe_export.checkpoint.architectures`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from edgepipe.errors import ExportError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What goes where in the module of a model: {"LEDEncoder._pad_to_window_size": function}.
Patches = dict[str, Callable[..., Any]]


def longformer_attention(
    layer: Any,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor,
    is_index_masked: torch.Tensor,
    is_index_global_attn: torch.Tensor,
    is_global_attn: bool,
    output_attentions: bool = False,
    *,
    with_global: bool,
) -> tuple[torch.Tensor]:
    """``LongformerSelfAttention.forward`` as one product of all queries with all keys, most of it masked.

    The original cuts texts into chunks and gathers the tokens with global attention, whose number it must know. Each
    token sees the ordinary tokens of its window and the global ones; a global token sees all, through projections of
    its own. Padding sees nothing. Needs memory for the square of the length.

    Args:
        layer: The layer.
        hidden_states: float32[batch, length, width].
        attention_mask: float32[batch, length]: negative for padding, 0 for a window, positive for global attention.
        is_index_masked: bool[batch, length], padding.
        is_index_global_attn: bool[batch, length], global attention.
        is_global_attn: Whether any token has that, which is not known while it is traced.
        output_attentions: Must be False: the original's weights have the shape of its chunks.
        with_global: Whether the model's head gives any token global attention.
    """
    if output_attentions:
        raise ExportError("Longformer's attentions cannot be exported: their shape depends on the text")
    lowest = torch.finfo(hidden_states.dtype).min

    def project(projection: torch.nn.Module) -> torch.Tensor:
        states: torch.Tensor = projection(hidden_states)
        return states.reshape(*states.shape[:2], layer.num_heads, layer.head_dim).transpose(1, 2)

    def attend(scores: torch.Tensor, visible: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        weights = torch.where(visible, scores, lowest).softmax(-1)
        weights = weights.masked_fill(is_index_masked[:, None, :, None], 0.0)
        return (weights @ values).transpose(1, 2).flatten(2)

    scale = layer.head_dim**-0.5
    position = torch.arange(hidden_states.shape[1])
    near = (position[:, None] - position).abs() <= layer.one_sided_attn_window_size
    ordinary = ~is_index_masked & ~is_index_global_attn
    visible = (near & ordinary[:, None, :]) | is_index_global_attn[:, None, :]
    scores = project(layer.query) * scale @ project(layer.key).transpose(-1, -2)
    output = attend(scores, visible[:, None], project(layer.value))
    if with_global:
        scores = project(layer.query_global) * scale @ project(layer.key_global).transpose(-1, -2)
        seen = ~is_index_masked[:, None, None, :]
        overview = attend(scores, seen, project(layer.value_global))
        output = torch.where(is_index_global_attn[..., None], overview, output)
    return (output,)


def skip_padding(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    token_type_ids: torch.Tensor,
    position_ids: torch.Tensor | None,
    inputs_embeds: torch.Tensor | None,
    pad_token_id: int,
) -> tuple[int, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """``LongformerModel._pad_to_window_size``: without chunks there is nothing to fill up."""
    return 0, input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds


def find_first_separator(input_ids: torch.Tensor, sep_token_id: int) -> torch.Tensor:
    """Longformer's ``_get_question_end_index`` without counting the separators: int64[batch]."""
    return (input_ids == sep_token_id).int().argmax(-1)


def longformer_patches(model: PreTrainedModel) -> Patches:
    """Of Longformer, whose heads decide which tokens have global attention."""
    with_global = type(model).__name__.endswith(("ForSequenceClassification", "ForQuestionAnswering"))

    def attention(layer: Any, *inputs: Any, **options: Any) -> tuple[torch.Tensor]:
        return longformer_attention(layer, *inputs, **options, with_global=with_global)

    return {
        "LongformerSelfAttention.forward": attention,
        "LongformerModel._pad_to_window_size": skip_padding,
        "_get_question_end_index": find_first_separator,
    }


def skip_source_padding(
    model: Any,
    input_ids: torch.Tensor | None,
    attention_mask: torch.Tensor,
    inputs_embeds: torch.Tensor,
    pad_token_id: int,
) -> tuple[int, torch.Tensor | None, torch.Tensor, torch.Tensor]:
    """``LEDEncoder._pad_to_window_size``, likewise."""
    return 0, input_ids, attention_mask, inputs_embeds


def led_patches(model: PreTrainedModel) -> Patches:
    """Of LED."""

    def attention(layer: Any, *inputs: Any, **options: Any) -> tuple[torch.Tensor]:
        # No token has global attention unless a mask for it is given, which no pipeline does.
        return longformer_attention(layer, *inputs, **options, with_global=False)

    return {
        "LEDEncoderSelfAttention.forward": attention,
        "LEDEncoder._pad_to_window_size": skip_source_padding,
    }


def shift_tokens_right(input_ids: torch.Tensor, pad_token_id: int) -> torch.Tensor:
    """mBART's ``shift_tokens_right`` without its ``squeeze``, which takes away the batch axis of a single text.

    Args:
        input_ids: int64[batch, length].
        pad_token_id: Id of padding.

    Returns:
        int64[batch, length]: the last token of each text, then all but the last column.
    """
    last = (input_ids != pad_token_id).sum(1, keepdim=True) - 1
    return torch.cat([input_ids.gather(1, last), input_ids[:, :-1]], 1)


def mbart_patches(model: PreTrainedModel) -> Patches:
    """Of mBART and PLBart."""
    return {"shift_tokens_right": shift_tokens_right}


def prophetnet_patches(model: PreTrainedModel) -> Patches:
    """Of ProphetNet."""
    name = "ProphetNetPositionalEmbeddings"
    original = getattr(importlib.import_module(type(model).__module__), name).forward

    def position_after(
        embeddings: Any, inputs_shape: tuple[int, int], device: Any, *inputs: Any, **more: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The position of one token after others, int64[1, 1], and its embedding; the original makes it a constant."""
        cache = more.get("cache", more.get("past_key_values"))  # its name until transformers 5.23
        if cache is None or inputs_shape[1] != 1:
            found: tuple[torch.Tensor, torch.Tensor] = original(embeddings, inputs_shape, device, *inputs, **more)
            return found
        position = torch.full((1, 1), embeddings.padding_idx + 1 + cache.get_seq_length(), device=device)
        return torch.nn.functional.embedding(position, embeddings.weight), position

    return {f"{name}.forward": position_after}


def phimoe_patches(model: PreTrainedModel) -> Patches:
    """Of Phi-MoE."""

    def embed_positions(rotary: Any, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``PhimoeRotaryEmbedding.forward``, whose ``if`` a trace cannot follow.

        The original has the scale of the longest row for all rows, and short factors for any length.

        Args:
            rotary: The module.
            x: Says which dtype the result has.
            position_ids: int64[batch, new].

        Returns:
            Cosines and sines, [batch, new, head_dim] each.
        """
        rope = rotary.config.rope_parameters
        frequencies, scale = rotary.rope_init_fn(rotary.config)
        if rope["rope_type"] != "default":
            is_long = position_ids.max() + 1 > rope["original_max_position_embeddings"]
            scale = torch.where(is_long, float(rope["long_mscale"]), float(rope["short_mscale"]))
        angles = position_ids[..., None].float() * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return (angles.cos() * scale).to(x.dtype), (angles.sin() * scale).to(x.dtype)

    return {"PhimoeRotaryEmbedding.forward": embed_positions}


def keep_states(model: Any, curr_out: torch.Tensor, prev_mem: torch.Tensor | None) -> torch.Tensor:
    """``XLNetModel.cache_mem`` without its cuts, which are made in the traced graph.

    Args:
        model: The model.
        curr_out: float32[new, batch, width].
        prev_mem: float32[kept, batch, width].

    Returns:
        float32[kept + new, batch, width].
    """
    return curr_out if prev_mem is None else torch.cat([prev_mem, curr_out])


def xlnet_patches(model: PreTrainedModel) -> Patches:
    """Of XLNet."""
    return {"XLNetModel.cache_mem": keep_states}


class LastMarkedToken(TorchFunctionMode):
    """Reads ``states[mask, :]`` as one row of states for each text: that of the last token its mask marks.

    The classification heads of encoder-decoders select all end-of-sequence tokens, reshape them to [batch, -1, width]
    and take the last. That is right only where each text has as many of them, which PyTorch checks and a graph does
    not: with this, one row is what each text gives, however many it has.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `function`, or what goes in its place."""
        if function is torch.Tensor.__getitem__ and isinstance(args[1], tuple) and isinstance(args[1][0], torch.Tensor):
            states, (marked, *rest) = args
            if marked.dtype == torch.bool and marked.ndim == 2 and rest == [slice(None)]:
                last = (torch.arange(marked.shape[1]) * marked).argmax(1)
                return states[torch.arange(marked.shape[0]), last]
        return function(*args, **(kwargs or {}))


def multiply_conv1d(layer: Any, states: torch.Tensor) -> torch.Tensor:
    """``Conv1D.forward`` of GPT-2 and its kin without flattening the batch, which costs two reshapes a product.

    Args:
        layer: Its weight is float32[width, outputs].
        states: float32[batch, length, width].
    """
    product: torch.Tensor = states @ layer.weight + layer.bias
    return product
