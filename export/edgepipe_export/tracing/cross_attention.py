"""Attention over a source whose keys were projected before, or are projected now, without putting both together.

In one graph for the first and the later steps one of the two is always empty. Concatenating the keys would copy those
of the whole source for every token and every beam. So the scores are computed for each and concatenated, which are few,
and the values are summed up by each.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers.cache_utils import Cache

from edgepipe_export.tracing.cache_layers import Asked, Pair, WaitingLayer


class SourceLayer(WaitingLayer):
    """The source's keys and values for one layer of the decoder.

    Those before were projected at the first step, and are empty at that step; new ones are empty at later steps.
    """

    def get_seq_length(self) -> int:
        """Tokens of the source that were projected before."""
        length: int = self.past[0].shape[2]  # not made an int: while tracing it is a symbol
        return length

    def attend(self, asked: Asked) -> torch.Tensor:
        """See :class:`WaitingLayer`; of the source no model has a bias, but for T5's, which is zero."""
        assert self.new is not None
        query = asked.query * asked.scale
        parts = (self.past, self.new)
        scores = torch.cat([query @ keys.transpose(-1, -2) for keys, _ in parts], -1)
        weights = (scores if asked.mask is None else scores + asked.mask).softmax(-1)
        before = self.past[0].shape[2]
        each = (weights[..., :before], weights[..., before:])
        output = sum(weight @ values for weight, (_, values) in zip(each, parts, strict=True))
        assert isinstance(output, torch.Tensor)
        return output.transpose(1, 2)


class SourceLayers(Cache):  # type: ignore[misc]
    """The source's keys and values for all layers of a decoder."""

    def __init__(self, past: Sequence[Pair]) -> None:
        super().__init__(layers=[SourceLayer(pair) for pair in past])
