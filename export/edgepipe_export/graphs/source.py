"""Attention over a source whose keys were projected before, or are projected now, without putting both together.

In one graph for the first and the later steps one of the two is always empty. Concatenating the keys would copy those
of the whole source for every token and every beam. So the scores are computed for each and concatenated, which are few,
and the values are summed up by each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

Pair = tuple[torch.Tensor, torch.Tensor]

# Layers whose keys the model has projected and whose attention is still to come, in order. One trace runs at a time.
_waiting: list[SourceLayer] = []


class SourceLayer(DynamicLayer):  # type: ignore[misc]
    """The source's keys and values for one layer of the decoder.

    Attributes:
        past: Those projected at the first step, float32[batch, heads, source, width]; empty at that step.
        new: Those projected now, likewise; empty at later steps.
    """

    def __init__(self, past: Pair) -> None:
        super().__init__()
        self.past = past
        self.new: Pair | None = None

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Pair:
        """Leave the new keys and values as they are."""
        self.new = (key_states, value_states)
        _waiting.append(self)
        return self.new

    def get_seq_length(self) -> int:
        """Tokens of the source that were projected before."""
        length: int = self.past[0].shape[2]  # not made an int: while tracing it is a symbol
        return length

    def attend(self, query: torch.Tensor, mask: torch.Tensor | None, scale: float) -> torch.Tensor:
        """Attention of the target's new tokens.

        Args:
            query: float32[batch, heads, new, width].
            mask: Added to the scores, float32[batch, 1, new, source].
            scale: Factor of the scores.

        Returns:
            float32[batch, new, heads, width].
        """
        assert self.new is not None
        query = query * scale
        parts = (self.past, self.new)
        scores = torch.cat([query @ keys.transpose(-1, -2) for keys, _ in parts], -1)
        weights = (scores if mask is None else scores + mask).softmax(-1)
        before = self.past[0].shape[2]
        each = (weights[..., :before], weights[..., before:])
        output = sum(weight @ values for weight, (_, values) in zip(each, parts, strict=True))
        assert isinstance(output, torch.Tensor)
        return output.transpose(1, 2)


class SourceLayers(Cache):  # type: ignore[misc]
    """The source's keys and values for all layers of a decoder."""

    def __init__(self, past: Sequence[Pair]) -> None:
        super().__init__(layers=[SourceLayer(pair) for pair in past])


def taken(key: torch.Tensor) -> SourceLayer | None:
    """The layer that just handed over this key, if any did."""
    for layer in _waiting:
        if layer.new is not None and layer.new[0] is key:
            _waiting.remove(layer)
            return layer
    return None


def forget() -> None:
    """Drop the layers of a trace that ended."""
    _waiting.clear()
