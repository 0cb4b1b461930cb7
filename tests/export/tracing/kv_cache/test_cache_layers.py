"""Layers of a cache that compute attention: found by what they returned, and exact."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers.cache_utils import DynamicLayer

from edgepipe_export.tracing.kv_cache.cache_layers import (
    AttendingLayer,
    CrossAttentionCache,
    GroupQueryCache,
    KeyValue,
    add_biases,
    clear_layers,
    sample_past,
    take_layer,
)

BATCH, HEADS, WIDTH = 2, 3, 4
GENERATOR = torch.Generator().manual_seed(0)


def states(tokens: int, heads: int = HEADS) -> torch.Tensor:
    return torch.randn(BATCH, heads, tokens, WIDTH, generator=GENERATOR)


def pair(tokens: int, heads: int = HEADS) -> KeyValue:
    return states(tokens, heads), states(tokens, heads)


@pytest.fixture(autouse=True)
def _no_layers_left() -> Iterator[None]:
    yield
    clear_layers()


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    softcap: float | None,
) -> torch.Tensor:
    """By its definition, float32[batch, new, heads, width]."""
    scores = query @ key.transpose(-1, -2) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    return ((scores if mask is None else scores + mask).softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize(("before", "now"), [(0, 5), (5, 0), (3, 2)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("softcap", [None, 0.7])
def test_attention_over_the_source_in_two_parts(softcap: float | None, before: int, now: int, masked: bool) -> None:
    past, new = pair(before), pair(now)
    cache = CrossAttentionCache([past])
    layer = cache.layers[0]
    assert layer.get_seq_length() == before
    key, _ = layer.update(*new)
    assert key is new[0]
    mask = torch.zeros(BATCH, 1, 1, before + now) if masked else None
    if mask is not None:
        mask[1, ..., -2:] = torch.finfo(torch.float32).min
    query = states(2)
    key, value = (torch.cat(parts, 2) for parts in zip(past, new, strict=True))
    expected = attention(query, key, value, mask, 0.5, softcap)
    torch.testing.assert_close(layer.attend(query, mask, None, 0.5, softcap), expected)


def test_a_layer_is_found_once_by_the_very_keys_that_it_returned() -> None:
    cache = CrossAttentionCache([pair(1), pair(1)])
    keys = [layer.update(*pair(1))[0] for layer in cache.layers]
    assert take_layer(keys[0].clone()) is None
    assert take_layer(keys[1]) is cache.layers[1], "in whatever order"
    assert take_layer(keys[1]) is None
    assert take_layer(keys[0]) is cache.layers[0]
    cache.layers[0].update(*pair(1))
    clear_layers()
    assert take_layer(keys[0]) is None


def test_a_model_is_told_of_past_and_new_keys() -> None:
    cache = GroupQueryCache([pair(4, 1), pair(4, 1)], BATCH, total=7, new=3)
    layer = cache.layers[0]
    assert (layer.get_seq_length(), layer.get_mask_sizes(3)) == (4, (7, 0))
    key, value = layer.update(*pair(3, 1))
    assert key.shape == value.shape == (BATCH, 1, 7, WIDTH)
    assert layer.counts is cache.layers[1].counts
    assert layer.counts.seqlens_k.tolist() == [6, 6]
    assert layer.counts.total_sequence_length.item() == 7
    assert {layer.counts.seqlens_k.dtype, layer.counts.total_sequence_length.dtype} == {torch.int32}


def test_the_present_has_the_shape_of_all_tokens() -> None:
    """The operator is onnxruntime's: PyTorch knows the shapes of what it gives."""
    layer = GroupQueryCache([pair(4, 1)], BATCH, total=7, new=3).layers[0]
    layer.update(*pair(3, 1))
    assert layer.present is None
    output = layer.attend(states(3), None, None, 0.5, 30.0)
    assert output.shape == (BATCH, 3, HEADS, WIDTH)
    assert [each.shape for each in layer.present] == [(BATCH, 1, 7, WIDTH)] * 2


def test_a_kind_of_layer_says_itself_how_it_attends() -> None:
    with pytest.raises(NotImplementedError):
        AttendingLayer(pair(1)).attend(states(1), None, None, 1.0, None)


def test_biases_that_are_there_are_summed() -> None:
    one, other = torch.ones(2), torch.full((2,), 3.0)
    assert add_biases() is add_biases(None, None) is None
    assert add_biases(None, one) is one
    found = add_biases(one, None, other)
    assert found is not None
    assert found.tolist() == [4, 4]


def test_a_past_to_trace_with_is_shaped_as_the_model_fills_it() -> None:
    layer = DynamicLayer()
    layer.update(torch.ones(1, 2, 9, 4), torch.ones(1, 2, 9, 6))
    found = sample_past(layer, 5, 7)
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {"key": (5, 2, 7, 4), "value": (5, 2, 7, 6)}
