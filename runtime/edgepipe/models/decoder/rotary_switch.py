"""The length at which a model turns to other rotary positions, and whether its cache begins anew there.

With the rope type ``longrope`` the longest row of a batch decides for all of its rows: up to
``original_max_position_embeddings`` tokens their positions have short factors, beyond it long ones
(``longrope_frequency_update`` in transformers' ``modeling_rope_utils.py``). Keys that a cache holds have the factors of
the step that made them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Those whose ``prepare_inputs_for_generation`` drops the cache at the switch and reads the whole text again. Others go
# on with a cache of short factors.
_RESTARTING = ("phi3", "phimoe")

# What Phi-3 has called its rope type.
_FORMER_NAMES = ("su", "yarn")


@dataclass(frozen=True, slots=True)
class RotarySwitch:
    """Where the positions change.

    Attributes:
        length: The most tokens that have short factors.
        restarts: Whether the cache is dropped behind it.
    """

    length: int
    restarts: bool


def find_rotary_switch(config: Mapping[str, Any]) -> RotarySwitch | None:
    """The switch of a model, from its ``config.json``; None where it has none."""
    config = config.get("text_config") or config
    restarts = config.get("model_type") in _RESTARTING
    names = ("longrope", *(_FORMER_NAMES if restarts else ()))
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    each_kind = [rope, *(value for value in rope.values() if isinstance(value, Mapping))]
    found = [each for each in each_kind if each.get("rope_type", each.get("type")) in names]
    if not found:
        return None
    # The config's own goes before that of its rope, as in transformers' ``standardize_rope_params``.
    for source in (config, *found):
        if isinstance(length := source.get("original_max_position_embeddings"), int):
            return RotarySwitch(length, restarts)
    length = config.get("max_position_embeddings")
    return RotarySwitch(length, restarts) if isinstance(length, int) else None
