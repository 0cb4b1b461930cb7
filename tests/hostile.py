"""Models that 8 bits ruin: a few channels after each layer norm are far from all others.

Large BERTs have such channels (Bondarenko et al. 2021, https://arxiv.org/abs/2109.12948). Here they are put into a
model that computes the same as before: what a channel gains in a layer norm, the layers that read it lose again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

# A layer norm, the layers that read it, and the layer that is added to it around them, if it is.
_Place = tuple[Any, Sequence[Any], Any]


def inject_outliers(model: Any, channels: Sequence[int], size: float) -> None:
    """Move channels of a model's layer norms away from zero, in place; its results stay as they were.

    Args:
        model: A BERT with any head, a GPT-2, or a BART.
        channels: Which.
        size: By how much; ordinary channels are within about 2.
    """
    shift = torch.zeros(model.config.hidden_size)
    shift[list(channels)] = size
    shift[list(channels)[1::2]] *= -1
    with torch.no_grad():
        for norm, readers, added in _PLACES[model.config.model_type](model.base_model):
            norm.bias += shift
            for reader in readers:
                # GPT-2's weights are [inputs, outputs], all others [outputs, inputs].
                reader.bias -= shift @ reader.weight if hasattr(reader, "nf") else reader.weight @ shift
            if added is not None:
                added.bias -= shift


def _bert(bert: Any) -> Iterator[_Place]:
    norm = bert.embeddings.LayerNorm
    for layer in bert.encoder.layer:
        attention = layer.attention
        projections = (attention.self.query, attention.self.key, attention.self.value)
        yield norm, projections, attention.output.dense
        yield attention.output.LayerNorm, (layer.intermediate.dense,), layer.output.dense
        norm = layer.output.LayerNorm


def _gpt2(gpt2: Any) -> Iterator[_Place]:
    for block in gpt2.h:
        yield block.ln_1, (block.attn.c_attn,), None
        yield block.ln_2, (block.mlp.c_fc,), None


def _bart(bart: Any) -> Iterator[_Place]:
    for layer in bart.encoder.layers:
        yield layer.self_attn_layer_norm, (layer.fc1,), layer.fc2
    for layer in bart.decoder.layers:
        yield layer.self_attn_layer_norm, (layer.encoder_attn.q_proj,), layer.encoder_attn.out_proj
        yield layer.encoder_attn_layer_norm, (layer.fc1,), layer.fc2


_PLACES: Mapping[str, Callable[[Any], Iterator[_Place]]] = {"bert": _bert, "gpt2": _gpt2, "bart": _bart}
