"""Generation as on a device, on the processor's memory: no numpy looks at the cache, and tokens alone come back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import Bundle
from edgepipe.backend.onnxruntime.ort_device import OrtDevice
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import GeneratedSequence, generate
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe.models.decoder.step_tensors import Logits
from edgepipe_export import export
from tests.tiny.generation import TEXTS
from tests.tiny.generative import build_generative

DEVICE = OrtDevice(is_host=False)
SEARCHES: list[dict[str, Any]] = [
    {"max_new_tokens": 20},
    {"max_new_tokens": 20, "repetition_penalty": 1.3},
    {"max_new_tokens": 16, "num_beams": 3},
    {"max_new_tokens": 12, "do_sample": True, "num_return_sequences": 2, "seed": 5, "temperature": 0.7, "top_p": 0.9},
    {"max_new_tokens": 12, "do_sample": True, "seed": 5, "top_k": 0},
]

# Of which no score leaves the device.
WITHOUT_SCORES = [SEARCHES[0], SEARCHES[2], SEARCHES[3]]


@pytest.fixture
def unclean(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device's memory holds anything at first: numbers that are none must not leak into results."""
    empty = OrtDevice.empty

    def filled(device: OrtDevice, shape: Any, dtype: str) -> Any:
        value = empty(device, shape, dtype)
        if np.dtype(dtype).kind == "f" and value.numpy().size:
            value.numpy()[...] = np.nan
        return value

    monkeypatch.setattr(OrtDevice, "empty", filled)


def assert_same(found: list[list[GeneratedSequence]], expected: list[list[GeneratedSequence]]) -> None:
    """The same tokens; a beam's score may be rounded otherwise, for onnxruntime took the logarithms."""
    for ours, theirs in zip(found, expected, strict=True):
        assert [each.token_ids for each in ours] == [each.token_ids for each in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert (one.score is None) is (other.score is None)
            assert one.score is None or other.score is None or abs(one.score - other.score) < 1e-4


@pytest.mark.usefixtures("unclean")
@pytest.mark.parametrize("family", ["gpt2", "gemma3_text", "bart", "t5"])
def test_every_search_writes_the_same_tokens(
    family: str, writer: Callable[[str], tuple[Any, Any, Bundle]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, tokenizer, bundle = writer(family)
    host, device = load_decoder(bundle), load_decoder(bundle)
    device.session.device = DEVICE
    encoded = tokenizer(list(TEXTS), return_tensors="np", padding=True)
    ids, mask = (encoded[name].astype(np.int64) for name in ("input_ids", "attention_mask"))
    scores_read = 0
    read = Logits.read

    def counted(*arguments: Any) -> Any:
        nonlocal scores_read
        scores_read += 1
        return read(*arguments)

    monkeypatch.setattr(Logits, "read", counted)
    for options in SEARCHES:
        config = generation_config(host, {}, options)
        expected = generate(host, ids, mask, config)
        scores_read = 0
        assert_same(generate(device, ids, mask, config), expected)
        assert (scores_read == 0) is (options in WITHOUT_SCORES)


@pytest.mark.usefixtures("unclean")
def test_half_precision_of_an_encoder_decoder(tmp_path: Path) -> None:
    model, tokenizer = build_generative("bart")
    bundle = export(model, tmp_path / "bundle", tokenizer=tokenizer, dtypes=("fp32", "fp16"), verify=False)
    assert bundle.shares_cache("fp32")
    assert not bundle.shares_cache("fp16"), "its attention is written out, and concatenates"
    host, device = load_decoder(bundle, "fp16"), load_decoder(bundle, "fp16")
    device.session.device = DEVICE
    encoded = tokenizer(list(TEXTS), return_tensors="np", padding=True)
    ids, mask = (encoded[name].astype(np.int64) for name in ("input_ids", "attention_mask"))
    for options in SEARCHES:
        config = generation_config(host, {}, options)
        assert_same(generate(device, ids, mask, config), generate(host, ids, mask, config))
