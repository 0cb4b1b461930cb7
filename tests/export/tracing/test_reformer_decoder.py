"""Reformer as a decoder: what is traced, in PyTorch, beside the steps of ``generate``."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgepipe.bundle.layout import LOGITS_TO_KEEP
from edgepipe_export.tracing.reformer_decoder import ReformerDecoder, sample_inputs
from tests.tiny.generative import build_generative

HASHES: dict[str, Any] = {"attn_layers": ["local", "lsh"], "hash_seed": 3, "num_hashes": 1}
CONFIGS: dict[str, dict[str, Any]] = {
    "local attention": {},
    "one hash": HASHES,
    "three hashes": HASHES | {"num_hashes": 3, "attn_layers": ["lsh", "lsh"]},
    "factors of buckets": HASHES | {"num_buckets": [2, 4], "num_hashes": 2},
    "other chunks": HASHES | {"lsh_attn_chunk_length": 6},
    "shorter chunks of neighbours": HASHES | {"local_attn_chunk_length": 4, "num_hashes": 2},
    "longer chunks of hashes": HASHES | {"lsh_attn_chunk_length": 16, "num_hashes": 2},
    "no chunk before": HASHES | {"lsh_num_chunks_before": 0, "local_num_chunks_before": 0},
    "one table of positions": HASHES | {"axial_pos_embds": False},
}
# A chunk or less, which is read whole; whole chunks; chunks that are filled up.
PROMPTS = (1, 7, 8, 9, 16, 23)
STEPS = 14


def random_ids(seed: int, rows: int, length: int) -> torch.Tensor:
    return torch.randint(5, 200, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("config", CONFIGS)
def test_steps_are_those_of_generate(config: str) -> None:
    model, _ = build_generative("reformer", gain=1.0, **CONFIGS[config])
    decoder = ReformerDecoder(model)
    empty = [{name: states[:, :, :0] for name, states in layer.items()} for layer in past_of(model)]
    for length in PROMPTS:
        written = fed = random_ids(length, 2, length)
        kept: dict[str, Any] = {"use_cache": True}
        past = empty
        for step in range(STEPS):
            with torch.no_grad():
                result = model(**model.prepare_inputs_for_generation(written, **kept), return_dict=True)
                found = decoder(fed, past, torch.tensor(0))
            kept = model._update_model_kwargs_for_generation(result, kept)
            torch.testing.assert_close(found["logits"], result["logits"], rtol=1e-3, atol=1e-4)
            past = found["present"]
            fed = random_ids(100 * length + step, 2, 1)
            written = torch.cat([written, fed], dim=1)


def past_of(model: Any) -> list[dict[str, torch.Tensor]]:
    layers: list[dict[str, torch.Tensor]] = sample_inputs(model)["past_key_values"]
    return layers


def test_layers_that_hash_keep_buckets() -> None:
    model, _ = build_generative("reformer", **HASHES | {"num_hashes": 2})
    assert [sorted(layer) for layer in past_of(model)] == [["key", "value"], ["buckets", "key", "value"]]
    assert past_of(model)[1]["buckets"].shape == (2, 4, 11, 2)


def test_no_two_sizes_of_the_sample_are_alike() -> None:
    """The tracer takes equal sizes for one, and a size of 1 for a constant."""
    model, _ = build_generative("reformer")
    rows, new = sample_inputs(model)["input_ids"].shape
    past = past_of(model)[0]["key"].shape[2]
    assert len({1, rows, new, past, past + new}) == 5


def test_scores_of_the_last_tokens_alone() -> None:
    model, _ = build_generative("reformer")
    sample = sample_inputs(model)
    with torch.no_grad():
        everything = ReformerDecoder(model)(**sample | {LOGITS_TO_KEEP: torch.tensor(0)})["logits"]
        torch.testing.assert_close(ReformerDecoder(model)(**sample)["logits"], everything[:, -1:])
