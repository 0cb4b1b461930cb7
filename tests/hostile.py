"""A model that 8 bits ruin: a few channels after each layer norm are far from all others.

Large BERTs have such channels (Bondarenko et al. 2021, https://arxiv.org/abs/2109.12948). Here they are put into a
model that computes the same as before: what a channel gains in a layer norm, the layers that read it lose again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def inject_outliers(model: Any, channels: Sequence[int], size: float) -> None:
    """Move channels of a BERT's layer norms away from zero, in place; its results stay as they were.

    Args:
        model: A BERT with any head.
        channels: Which.
        size: By how much; ordinary channels are within about 2.
    """
    shift = torch.zeros(model.config.hidden_size)
    shift[list(channels)] = size
    shift[list(channels)[1::2]] *= -1
    bert = model.base_model
    with torch.no_grad():
        norm = bert.embeddings.LayerNorm
        for layer in bert.encoder.layer:
            attention = layer.attention
            projections = (attention.self.query, attention.self.key, attention.self.value)
            _shift(norm, shift, projections, attention.output.dense)
            _shift(attention.output.LayerNorm, shift, (layer.intermediate.dense,), layer.output.dense)
            norm = layer.output.LayerNorm


def _shift(norm: Any, shift: torch.Tensor, readers: Sequence[Any], added: Any) -> None:
    """Shift a norm's output, and take it away where it is read and where it is added to (around the readers)."""
    norm.bias += shift
    for reader in readers:
        reader.bias -= reader.weight @ shift
    added.bias -= shift
