"""Reformer for any length, beside transformers' own code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import ReformerConfig

from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.architectures import patch_model, require_exportable
from edgepipe_export.checkpoint.limits import find_limit
from edgepipe_export.checkpoint.patches.reformer import longest_text
from tests.tiny import LIMIT, build

LENGTHS = (1, 2, 7, 8, 9, 16, 17, 31, LIMIT)
CONFIGS: dict[str, dict[str, Any]] = {
    "both kinds of attention, two hashes": {},
    "one hash": {"num_hashes": 1, "attn_layers": ["lsh", "lsh"]},
    "factors of buckets": {"num_buckets": [2, 4], "num_hashes": 3},
    "one factor": {"num_buckets": [4]},
    "shorter chunks of hashes": {"lsh_attn_chunk_length": 4},
    "shorter chunks of neighbours": {"local_attn_chunk_length": 4},
    "chunks after": {"lsh_num_chunks_after": 1, "local_num_chunks_after": 1},
    "two chunks before": {"lsh_num_chunks_before": 2, "local_num_chunks_before": 2},
    "no chunk before": {"lsh_num_chunks_before": 0, "local_num_chunks_before": 0},
    "causal": {"is_decoder": True},
    "one table of positions": {"axial_pos_embds": False},
    "local attention alone": {"attn_layers": ["local", "local"], "hash_seed": None, "num_buckets": None},
    "pieces of the feed-forward network": {"chunk_size_feed_forward": 1},
}


def build_body(**config: Any) -> Any:
    return build("reformer", task="feature-extraction", gain=1.0, **config)[0]


def run(model: Any, length: int) -> torch.Tensor:
    """Hidden states of three texts, two of which are padded."""
    ids = torch.from_numpy(np.random.default_rng(length).integers(7, 200, (3, length)))
    mask = torch.ones_like(ids)
    mask[1, max(1, length // 2) :] = 0
    mask[2, max(1, length - 1) :] = 0
    with torch.no_grad():
        states: torch.Tensor = model(ids, attention_mask=mask).last_hidden_state
    return states


@pytest.mark.parametrize("config", CONFIGS)
def test_any_length(config: str) -> None:
    model = build_body(**CONFIGS[config])
    for length in LENGTHS:
        expected = run(model, length)
        with patch_model(model):
            found = run(model, length)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({}, 64),
        ({"max_position_embeddings": 61}, 56),
        ({"max_position_embeddings": 6}, 6),
        ({"max_position_embeddings": 128}, 64),
        ({"axial_pos_embds": False, "max_position_embeddings": 100, "lsh_attn_chunk_length": 12}, 96),
    ],
    ids=str,
)
def test_the_longest_text(config: dict[str, Any], limit: int) -> None:
    model = build_body(**config)
    assert longest_text(model.config) == find_limit(model).tokens == limit
    run(model, limit)
    with pytest.raises((ValueError, IndexError)):
        run(model, limit + 1)


@pytest.mark.parametrize("missing", ["hash_seed", "num_buckets"])
def test_what_transformers_draws_or_decides_call_by_call_is_refused(missing: str) -> None:
    with pytest.raises(ExportError, match="ReformerModel cannot be exported exactly: without hash_seed"):
        require_exportable(build_body(**{missing: None}))


def test_tensors_of_layers_are_refused() -> None:
    model = build_body()
    with patch_model(model), pytest.raises(ExportError, match="as long as its chunks"):
        model(torch.ones((1, 3), dtype=torch.int64), output_hidden_states=True)


def test_a_default_config_is_one_of_those_that_draw() -> None:
    assert ReformerConfig().hash_seed is None
