"""Code in the place of transformers' own gives transformers' numbers, in PyTorch as well."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.models.longformer import modeling_longformer
from transformers.models.mbart import modeling_mbart
from transformers.pytorch_utils import Conv1D

from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.architectures import patch_model
from edgepipe_export.checkpoint.model_inputs import cache_name
from edgepipe_export.checkpoint.patches.model_patches import (
    LastMarkedToken,
    find_first_separator,
    led_patches,
    longformer_patches,
    multiply_conv1d,
    shift_tokens_right,
)
from tests.tiny import build, heads
from tests.tiny.generative import SWITCH, build_generative
from tests.tiny.parity import feeds_for
from tests.tiny.table import MORE


def run(model: Any, feeds: dict[str, Any]) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        result = model(**{name: torch.from_numpy(array) for name, array in feeds.items()}, return_dict=True)
    return {name: value for name, value in result.items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("task", heads("longformer"))
@pytest.mark.parametrize("length", [9, 31, 64])  # of windows of 8
def test_longformer_as_one_product(task: str, length: int) -> None:
    model, tokenizer = build("longformer", task=task, gain=MORE["longformer"].gain)
    feeds = feeds_for(model, tokenizer, 3, length)
    expected = run(model, feeds)
    with patch_model(model):
        found = run(model, feeds)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-4)


def test_longformer_s_attentions_are_refused() -> None:
    model, tokenizer = build("longformer", task="feature-extraction")
    feeds = feeds_for(model, tokenizer, 1, 9)
    with patch_model(model), pytest.raises(ExportError, match="Longformer's attentions cannot be exported"):
        model(torch.from_numpy(feeds["input_ids"]), output_attentions=True)


@pytest.mark.parametrize("task", ["text-classification", "question-answering", "feature-extraction"])
def test_only_some_heads_give_tokens_global_attention(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = build("longformer", task=task)
    seen: list[bool] = []
    monkeypatch.setattr(
        "edgepipe_export.checkpoint.patches.model_patches.longformer_attention",
        lambda *_, with_global, **__: seen.append(with_global),
    )
    longformer_patches(model)["LongformerSelfAttention.forward"](None)
    led_patches(model)["LEDEncoderSelfAttention.forward"](None)
    assert seen == [task != "feature-extraction", False]


@pytest.mark.parametrize("length", [3, 17, 64])
def test_led_without_chunks(length: int) -> None:
    model, tokenizer = build("led", task="feature-extraction", gain=MORE["led"].gain)
    feeds = feeds_for(model, tokenizer, 2, length)
    expected = run(model, feeds)
    with patch_model(model):
        found = run(model, feeds)
    for name in ("last_hidden_state", "encoder_last_hidden_state"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4)


def test_the_first_separator_of_each_text() -> None:
    ids = torch.tensor([[0, 7, 2, 2, 9, 2], [0, 2, 2, 5, 6, 2]])
    expected = modeling_longformer._get_question_end_index(ids, 2)
    assert find_first_separator(ids, 2).tolist() == expected.tolist() == [2, 1]
    assert find_first_separator(ids[:, :3], 2).tolist() == [2, 1], "however many there are"


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_tokens_are_shifted_with_the_last_one_in_front(rows: int) -> None:
    ids = torch.tensor([[4, 5, 6, 2], [7, 8, 2, 1], [9, 2, 1, 1]])[:rows]
    expected = modeling_mbart.shift_tokens_right(ids, 1)
    found = shift_tokens_right(ids, 1)
    assert found.tolist() == expected.tolist()
    assert found[0].tolist() == [2, 4, 5, 6]


def test_the_last_marked_token_of_each_text() -> None:
    states = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    marked = torch.tensor([[False, True, False, True, False], [True, False, True, False, False]])
    expected = states[marked, :].view(2, -1, 3)[:, -1]
    with LastMarkedToken():
        assert torch.equal(states[marked, :].view(2, -1, 3)[:, -1], expected)
        uneven = marked.clone()
        uneven[0, 4] = True  # PyTorch cannot reshape that
        assert torch.equal(states[uneven, :].view(2, -1, 3)[:, -1], torch.stack([states[0, 4], states[1, 2]]))
        # What is no such selection stays as it is.
        assert torch.equal(states[marked], states.reshape(-1, 3)[marked.reshape(-1)])
        assert torch.equal(states[:, 1], states.select(1, 1))
        assert torch.equal(states[torch.tensor([1, 0]), :], states.flip(0))


@pytest.mark.parametrize("architecture", ["bart", "mbart", "t5", "mvp"])
def test_heads_of_encoder_decoders_read_one_token_for_each_text(architecture: str) -> None:
    model, tokenizer = build(architecture)
    feeds = feeds_for(model, tokenizer, 3, 12)
    expected = run(model, feeds)["logits"]
    with patch_model(model):
        torch.testing.assert_close(run(model, feeds)["logits"], expected, rtol=1e-3, atol=1e-4)


def test_products_without_flattening() -> None:
    layer = Conv1D(6, 4)
    torch.nn.init.normal_(layer.bias)
    states = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(multiply_conv1d(layer, states), layer(states))


def test_prophetnet_s_place_follows_the_cache() -> None:
    model, tokenizer = build_generative("prophetnet")
    source = torch.tensor([tokenizer("Where is the old station?")["input_ids"]])
    tokens = torch.tensor([[5, 8, 13, 21]])

    def step_by_step() -> torch.Tensor:
        past, logits = None, []
        with torch.no_grad():
            for token in tokens.T:
                result = model(
                    input_ids=source, decoder_input_ids=token[None], **{cache_name(model): past}, use_cache=True
                )
                past = getattr(result, cache_name(model))
                logits.append(result.logits[:, -1])
        return torch.cat(logits)

    expected = step_by_step()
    with patch_model(model):
        torch.testing.assert_close(step_by_step(), expected)
        with torch.no_grad():  # without a cache its own code goes on
            whole = model(input_ids=source, decoder_input_ids=tokens, use_cache=False).logits
    with torch.no_grad():
        torch.testing.assert_close(whole, model(input_ids=source, decoder_input_ids=tokens, use_cache=False).logits)


@pytest.mark.parametrize("family", ["phimoe", "phimoe-longrope"])
@pytest.mark.parametrize("length", [1, SWITCH, SWITCH + 1, 3 * SWITCH])
def test_phi_moe_chooses_its_scale_without_an_if(family: str, length: int) -> None:
    model, _ = build_generative(family)
    ids = torch.arange(2 * length).reshape(2, length)
    positions = torch.stack([torch.arange(length), torch.arange(length).clamp(max=5)])
    with torch.no_grad():
        expected = model(ids, position_ids=positions).logits
        with patch_model(model):
            found = model(ids, position_ids=positions).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
