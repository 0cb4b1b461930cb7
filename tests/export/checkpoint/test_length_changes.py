"""Lengths at which models behave otherwise, read from configs of transformers' classes and from made-up ones."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig

from edgepipe_export.checkpoint.length_changes import FARTHEST, find_length_changes, plan_crossings

LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 48, "long_factor": [2.0] * 48}
MSCALES = {"short_mscale": 1.0, "long_mscale": 1.2}


@pytest.mark.parametrize(
    ("model_type", "config", "expected"),
    [
        ("bert", {}, []),
        ("llama", {}, []),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, []),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, [2048]),
        ("phi3", {"rope_parameters": LONGROPE, "max_position_embeddings": 131072}, [4096]),
        (
            "phi3",
            {"rope_parameters": LONGROPE, "original_max_position_embeddings": 300, "sliding_window": 250},
            [250, 300],
        ),
        ("mistral", {"sliding_window": 24}, [24]),
        ("mistral", {"sliding_window": None}, []),
        ("qwen2", {"sliding_window": 24, "max_window_layers": 1}, []),
        ("qwen2", {"sliding_window": 24, "max_window_layers": 1, "use_sliding_window": True}, [24]),
        ("gpt_neo", {"window_size": 40}, [40]),
        ("gemma3_text", {"sliding_window": 48}, [48]),
        ("gemma3_text", {"sliding_window": 48, "use_bidirectional_attention": True}, [24, 48]),
        ("modernbert", {"local_attention": 128}, [64, 128]),
        ("longformer", {"attention_window": [16, 32]}, [8, 16, 32]),
        ("llama4_text", {"attention_chunk_size": 64, "floor_scale": 96}, [64, 96]),
        ("t5", {}, [128]),
        ("big_bird", {"attention_type": "block_sparse", "block_size": 8, "num_random_blocks": 2}, [8, 72]),
        ("big_bird", {"attention_type": "original_full", "block_size": 8}, [8]),
    ],
)
def test_lengths_of_known_models(model_type: str, config: dict[str, Any], expected: list[int]) -> None:
    settings = AutoConfig.for_model(model_type, **config).to_dict()
    assert list(find_length_changes(settings)) == expected


def test_phi_moe_has_its_length_in_its_rope() -> None:
    rope = LONGROPE | MSCALES | {"original_max_position_embeddings": 20}
    assert list(find_length_changes({"model_type": "phimoe", "rope_parameters": rope})) == [20]


@pytest.mark.parametrize("name", ["some_window_size", "attention_chunk", "index_topk"])
def test_names_that_nobody_knows_yet_count_by_what_they_speak_of(name: str) -> None:
    assert list(find_length_changes({"text_config": {name: 10}, "vision_config": {name: 11}})) == [10]
    assert not find_length_changes({name: True})
    assert not find_length_changes({f"use_{name}": 10})


def test_ropes_of_layers_and_old_names() -> None:
    rope = {"full_attention": {"type": "su", "original_max_position_embeddings": 12}, "other": None}
    assert list(find_length_changes({"rope_scaling": rope, "id2label": {0: "a"}})) == [12]


def test_lengths_are_crossed_as_far_as_texts_and_time_go() -> None:
    config = {"sliding_window": 10, "attention_chunk_size": 20, "other_window": FARTHEST + 1, "chunk": 10**6}
    every = plan_crossings(config, None)
    assert (list(every.crossed), every.beyond) == ([10, 20], FARTHEST + 1)
    assert str(every) == (
        "goes across 10 tokens (sliding_window), 20 tokens (attention_chunk_size); "
        f"texts longer than {FARTHEST + 1} tokens are not compared"
    )
    short = plan_crossings(config, 20)
    assert (list(short.crossed), short.beyond) == ([10], None), "no text is longer than 20 tokens"
    assert str(plan_crossings({}, None)) == ""
    assert plan_crossings(config, None, 15).beyond == 20
