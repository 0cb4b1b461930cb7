"""The switch of rotary positions, from configs as transformers writes and wrote them."""

from __future__ import annotations

from typing import Any

import pytest

from edgepipe.models.decoder.rotary_switch import RotarySwitch, find_rotary_switch

LONG = {"rope_type": "longrope"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, None),
        (
            {"model_type": "phi3", "original_max_position_embeddings": 9, "rope_parameters": {"rope_type": "default"}},
            None,
        ),
        ({"model_type": "phi3", "original_max_position_embeddings": 9, "rope_scaling": None}, None),
        ({"model_type": "phi3", "original_max_position_embeddings": 9, "rope_parameters": LONG}, RotarySwitch(9, True)),
        (
            {"model_type": "phi3", "original_max_position_embeddings": 9, "rope_scaling": {"type": "su"}},
            RotarySwitch(9, True),
        ),
        ({"model_type": "llama", "original_max_position_embeddings": 9, "rope_scaling": {"type": "su"}}, None),
        (
            {"model_type": "phimoe", "rope_parameters": LONG | {"original_max_position_embeddings": 9}},
            RotarySwitch(9, True),
        ),
        (
            {"model_type": "llama", "rope_parameters": LONG | {"original_max_position_embeddings": 9}},
            RotarySwitch(9, False),
        ),
        (
            {"original_max_position_embeddings": 8, "rope_parameters": LONG | {"original_max_position_embeddings": 9}},
            RotarySwitch(8, False),
        ),
        ({"model_type": "llama", "rope_parameters": LONG, "max_position_embeddings": 7}, RotarySwitch(7, False)),
        ({"rope_parameters": {"full": LONG | {"original_max_position_embeddings": 5}}}, RotarySwitch(5, False)),
        (
            {"text_config": {"model_type": "phi3", "original_max_position_embeddings": 4, "rope_scaling": LONG}},
            RotarySwitch(4, True),
        ),
        ({"rope_parameters": LONG}, None),
    ],
)
def test_the_switch_of_a_config(config: dict[str, Any], expected: RotarySwitch | None) -> None:
    assert find_rotary_switch(config) == expected
