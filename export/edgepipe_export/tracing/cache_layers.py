"""Layers of a cache that leave new keys and values to the attention over them, while a model is traced.

A model hands its new keys to a layer of its cache, and what it gets back to its attention. So the layer gives tensors
back that it is known by again, and the attention finds the layer and has it attend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

Pair = tuple[torch.Tensor, torch.Tensor]

# Layers that a model has handed its keys to, and whose attention is still to come, in order. One trace runs at a time.
_waiting: list[WaitingLayer] = []


@dataclass(frozen=True)
class Asked:
    """What attention is asked for.

    Attributes:
        query: float32[batch, heads, new, width].
        mask: Added to the scores, float32[batch or 1, 1, new, total].
        position_bias: Added to the scores, float32[1, heads, new, total].
        scale: Factor of the scores.
        softcap: Bound of the scores, before anything is added.
    """

    query: torch.Tensor
    mask: torch.Tensor | None
    position_bias: torch.Tensor | None
    scale: float
    softcap: float | None


class WaitingLayer(DynamicLayer):  # type: ignore[misc]
    """One layer of a cache, known again by the keys it handed back.

    Attributes:
        past: Keys and values from before, float32[batch, heads, past, width] each.
        new: Those that the model has computed now, likewise; None until it has.
    """

    def __init__(self, past: Pair) -> None:
        super().__init__()
        self.past = past
        self.new: Pair | None = None
        self._handed: torch.Tensor | None = None

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Pair:
        """Keep the new keys and values for the attention, which is to get what this returns."""
        self.new = (key_states, value_states)
        handed = self.handed(key_states, value_states)
        self._handed = handed[0]
        _waiting.append(self)
        return handed

    def handed(self, key_states: torch.Tensor, value_states: torch.Tensor) -> Pair:
        """What the model takes for the layer's keys and values."""
        return key_states, value_states

    def attend(self, asked: Asked) -> torch.Tensor:
        """Attention of new tokens over past and new ones.

        Returns:
            float32[batch, new, heads, width].
        """
        raise NotImplementedError

    @classmethod
    def of(cls, key: torch.Tensor) -> WaitingLayer | None:
        """The layer that just handed over this key, if any did; it waits no longer."""
        for layer in _waiting:
            if layer._handed is key:
                _waiting.remove(layer)
                return layer
        return None


def forget() -> None:
    """Drop the layers of a trace that ended."""
    _waiting.clear()
