"""Funnel Transformer for any length gives transformers' numbers, in PyTorch as well, wherever transformers answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edgepipe_export.checkpoint.architectures import patch_model
from edgepipe_export.checkpoint.patches.funnel import fewest_funnel_tokens
from tests.tiny import build

LENGTHS = (1, 2, 3, 4, 5, 6, 9, 16, 17, 33)
CONFIGS: dict[str, dict[str, Any]] = {
    "as published": {},
    "cls kept at any length": {"truncate_seq": False},
    "cls pooled too": {"separate_cls": False},
    "keys pooled too": {"pool_q_only": False},
    "largest of a pair": {"pooling_type": "max"},
    "factorized": {"attention_type": "factorized"},
    "factorized, cls pooled too": {"attention_type": "factorized", "separate_cls": False},
    "layers run twice": {"block_repeats": [1, 2, 2]},
    "one block": {"block_sizes": [2], "block_repeats": [1]},
    "five blocks": {"block_sizes": [1] * 5},
}
CLASSES = {"tokens": "FunnelModel", "pooled": "FunnelBaseModel"}


def run(model: Any, length: int) -> tuple[torch.Tensor, ...] | None:
    """Hidden states and attentions of two texts, the second of which is padded; None where the model fails."""
    ids = torch.from_numpy(np.random.default_rng(length).integers(7, 200, (2, length)))
    mask = torch.ones_like(ids)
    mask[1, max(1, length - 2) :] = 0
    types = (torch.arange(length) >= length // 2).int().expand(2, -1)
    try:
        with torch.no_grad():
            result = model(ids, mask, types, output_hidden_states=True, output_attentions=True)
    except RuntimeError:
        return None
    return (result.last_hidden_state, *result.hidden_states, *result.attentions)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kind", CLASSES)
def test_any_length(config: str, kind: str) -> None:
    settings = {"architectures": [CLASSES[kind]]} | CONFIGS[config]
    model, _ = build("funnel", task="feature-extraction", gain=1.0, **settings)
    fewest = fewest_funnel_tokens(model.config.to_dict())
    compared = 0
    for length in LENGTHS:
        expected = run(model, length)
        with patch_model(model):
            found = run(model, length)
        assert found is not None, "every length has an answer"
        if expected is None:
            assert length < fewest
            continue
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
        compared += 1
    assert compared >= 2


@pytest.mark.parametrize("config", CONFIGS)
def test_which_texts_are_too_short_for_transformers(config: str) -> None:
    model, _ = build("funnel", task="feature-extraction", gain=1.0, **CONFIGS[config])
    fewest = fewest_funnel_tokens(model.config.to_dict())
    assert fewest < 40
    assert [run(model, length) is not None for length in range(fewest, fewest + 12)] == [True] * 12
    assert fewest == 1 or run(model, fewest - 1) is None
