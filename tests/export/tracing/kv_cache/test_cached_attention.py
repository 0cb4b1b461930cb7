"""Attention through transformers' interface: our name stands in a model for one trace, and computes the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgepipe_export.tracing.kv_cache.cache_layers import CrossAttentionCache, take_layer
from edgepipe_export.tracing.kv_cache.cached_attention import (
    CONCATENATED,
    NO_CACHE,
    SHARED,
    cached_attention,
    find_cache_kind,
)
from tests.tiny import build
from tests.tiny.generative import build_generative


def logits(model: Any, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**inputs).logits
    return found


IDS = torch.tensor([[5, 9, 8, 3, 7], [6, 4, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "t5", "bart"])
def test_without_a_cache_a_model_computes_what_it_did(family: str) -> None:
    model, _ = build_generative(family)
    inputs: dict[str, Any] = {"input_ids": IDS, "attention_mask": MASK, "use_cache": False}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = IDS[:, :3]
    expected = logits(model, **inputs)
    with cached_attention(model):
        assert model.config._attn_implementation not in ("eager", "sdpa")
        found = logits(model, **inputs)
    own = MASK[:, : found.shape[1]].bool()
    torch.testing.assert_close(found[own], expected[own], rtol=1e-4, atol=1e-4)
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("kind", [CONCATENATED, NO_CACHE])
def test_other_caches_leave_the_model_as_it_is(kind: str) -> None:
    model, _ = build("bert")
    with cached_attention(model, kind):
        assert model.config._attn_implementation == "eager"


def test_a_trace_that_fails_leaves_nothing_behind() -> None:
    model, _ = build_generative("gpt2")
    keys = torch.zeros(1, 2, 3, 4)

    def trace() -> None:
        with cached_attention(model):
            CrossAttentionCache([(keys, keys)]).layers[0].update(keys, keys)
            raise RuntimeError("as a tracer")

    with pytest.raises(RuntimeError, match="tracer"):
        trace()
    assert model.config._attn_implementation == "eager"
    assert take_layer(keys) is None


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("gpt2", SHARED),
        ("llama", SHARED),
        ("t5", SHARED),
        ("bart", SHARED),
        ("mixtral", SHARED),
        ("bloom", CONCATENATED),
        ("gpt_oss", CONCATENATED),
        ("deepseek_v3", CONCATENATED),
        ("jetmoe", CONCATENATED),
    ],
)
def test_the_kind_of_cache_is_found_by_asking_the_model(family: str, kind: str) -> None:
    assert find_cache_kind(build_generative(family)[0]) == kind
