"""Which layers of a decoder see a window of the last tokens alone, and how wide it is.

It is seen, not read from a config: the model makes its masks for one token behind as many others as it takes, and what
they let each layer see is counted. Those others are not there. A cache only says how many they are, and attention is
not computed, so this costs one token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer
from transformers.masking_utils import eager_mask

from edgepipe_export.checkpoint.model_inputs import accepted_inputs, cache_name

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAME = "edgepipe_windows"
# Rope types whose tables grow with the position that is asked for.
_GROWING = ("longrope", "su", "dynamic")
# No text is longer; and in a shorter one there is nothing to be seen.
_LONGEST, _SHORTEST = 1 << 20, 3


class _CountingLayer(DynamicLayer):  # type: ignore[misc]
    """A layer of a cache that says it has so many tokens, and has none."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return key_states, value_states


def find_window(model: PreTrainedModel, layers: int) -> tuple[int, frozenset[int]] | None:
    """The window of a model, in tokens, and the layers of its cache that see no more.

    Args:
        model: In evaluation mode, whose layers look their attention up by name.
        layers: How many layers its cache has.

    Returns:
        The window counts the token that looks. None where no layer has one, texts cannot be longer, layers have several
        windows, or what they see is no window: a chunk, say.
    """
    config = model.config.get_text_config()
    limit = min(getattr(config, "max_position_embeddings", None) or _LONGEST, _LONGEST)
    if limit < _SHORTEST or _grows(config):
        return None
    try:
        seen, others = (_count_seen(model, layers, length) for length in (limit - 1, limit - 2))
    except Exception:  # noqa: BLE001 - a model that reads its cache: then all layers keep all, which is never wrong
        return None
    if seen is None or others is None:
        return None
    found = {layer: width for layer, width in seen.items() if width < limit - 1}
    # A window is as wide wherever it is; a chunk is not.
    widths = {*found.values(), *(others[layer] for layer in found)}
    return (widths.pop(), frozenset(found)) if len(widths) == 1 else None


def _grows(config: Any) -> bool:
    rope = getattr(config, "rope_parameters", None) or {}
    each_kind = [rope, *(value for value in rope.values() if isinstance(value, Mapping))]
    return any(each.get("rope_type", each.get("type")) in _GROWING for each in each_kind)


def _count_seen(model: PreTrainedModel, layers: int, past: int) -> dict[int, int] | None:
    """How many of the last tokens each layer sees, behind so many others; None where that is not all it sees."""
    seen: dict[Any, int] = {}
    strays: list[Any] = []

    def attend(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        layer = getattr(module, "layer_idx", None)
        visible = torch.ones(past + 1, dtype=torch.bool)
        if attention_mask is not None:
            visible = (attention_mask == 0).reshape(-1, past + 1).any(0)
        count = int(visible.sum())
        if layer in seen or not visible[past + 1 - count :].all():
            strays.append(layer)
        seen[layer] = count
        return query.transpose(1, 2)[..., : value.shape[-1]].contiguous(), None

    own = model.config._attn_implementation
    AttentionInterface.register(_NAME, attend)
    AttentionMaskInterface.register(_NAME, eager_mask)
    positions = {name: torch.full((1, 1), past) for name in accepted_inputs(model, ["position_ids"])}
    cache = {cache_name(model): Cache(layers=[_CountingLayer(past) for _ in range(layers)]), "use_cache": True}
    try:
        model.set_attn_implementation(_NAME)
        with torch.no_grad():
            model(
                input_ids=torch.zeros((1, 1), dtype=torch.int64),
                attention_mask=torch.ones((1, past + 1), dtype=torch.int64),
                **positions,
                **cache,
                return_dict=True,
            )
    finally:
        model.set_attn_implementation(own)
    return seen if not strays and seen.keys() == set(range(layers)) else None
