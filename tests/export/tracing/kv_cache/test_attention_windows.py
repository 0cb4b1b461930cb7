"""The windows of models as their masks have them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgepipe_export.tracing.kv_cache import attention_windows
from edgepipe_export.tracing.kv_cache.attention_windows import find_window
from tests.tiny import LIMIT
from tests.tiny.generative import SWITCH, WINDOW, build_generative

WINDOWS: dict[str, tuple[int, set[int]] | None] = {
    "gpt2": None,
    "llama": None,
    "mistral": (WINDOW, {0, 1}),
    "gemma2": (WINDOW, {0}),
    "gemma3_text": (WINDOW, {0}),
    "phi3": (WINDOW, {0, 1}),
    "qwen2-windows": (SWITCH, {1}),
    "modernbert-decoder": (8, {1}),  # a local attention of 16 is half on each side
    "llama-longrope": None,
}


@pytest.mark.parametrize(("family", "expected"), WINDOWS.items(), ids=WINDOWS)
@pytest.mark.filterwarnings("ignore")
def test_what_each_layer_sees(family: str, expected: Any) -> None:
    model, _ = build_generative(family)
    own = model.config._attn_implementation
    assert find_window(model, model.config.num_hidden_layers) == expected
    assert model.config._attn_implementation == own


def test_a_window_that_no_text_fills_is_none() -> None:
    model, _ = build_generative("mistral", sliding_window=LIMIT)
    assert find_window(model, 2) is None
    assert find_window(build_generative("mistral", sliding_window=LIMIT - 2)[0], 2) == (LIMIT - 2, {0, 1})


@pytest.mark.parametrize("visible", ["a chunk", "both ends"])
def test_what_is_no_window(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def make_mask(batch: int, queries: int, total: int) -> torch.Tensor:
        columns = torch.arange(total)
        seen = columns // 8 == (total - 1) // 8 if visible == "a chunk" else (columns < 2) | (columns > total - 4)
        return torch.where(seen, 0.0, -1e9).expand(batch, 1, queries, total)

    model, _ = build_generative("llama")
    for layer in model.model.layers:
        forward = layer.self_attn.forward

        def attend(*args: Any, own: Any = forward, attention_mask: Any = None, **kwargs: Any) -> Any:
            return own(*args, attention_mask=make_mask(1, 1, attention_mask.shape[-1]), **kwargs)

        monkeypatch.setattr(layer.self_attn, "forward", attend)
    assert find_window(model, 2) is None


def test_a_model_that_reads_its_cache_keeps_all(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = build_generative("mistral")

    def read(*args: Any, **kwargs: Any) -> Any:
        raise AttributeError("no keys")

    monkeypatch.setattr(attention_windows._CountingLayer, "get_mask_sizes", read)
    assert find_window(model, 2) is None
    assert model.config._attn_implementation == "eager"
