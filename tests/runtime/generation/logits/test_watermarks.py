"""Watermarks beside those of transformers: single scores, and the texts of whole searches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.generation import logits_process as reference

from edgepipe.errors import InputError
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from edgepipe.generation.logits.watermark_config import check_watermark
from edgepipe.generation.logits.watermarks import SynthIDTextWatermarkLogitsProcessor, WatermarkLogitsProcessor
from tests.runtime.generation.models import ENDS, VOCABULARY, batch, model
from tests.runtime.generation.torch_decoder import TorchDecoder

GREEN: list[dict[str, Any]] = [
    {},
    {"greenlist_ratio": 0.5, "bias": 4.0, "hashing_key": 7},
    {"seeding_scheme": "selfhash", "bias": 3.0},
    {"seeding_scheme": "selfhash", "context_width": 3, "hashing_key": 2**40 + 1, "bias": 5.0},
]
PLAYED: list[dict[str, Any]] = [
    {"ngram_len": 4, "keys": [654, 400, 836, 123, 340]},
    {"ngram_len": 2, "keys": [1, 2**40], "skip_first_ngram_calls": True, "sampling_table_size": 97},
    {"ngram_len": 1, "keys": [5], "sampling_table_seed": 3},
    {"ngram_len": 3, "keys": [5, 6, 7], "context_history_size": 2, "debug_mode": True},
]


def scores_of(seed: int, rows: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    generator = np.random.default_rng(seed)
    scores = generator.normal(scale=3, size=(rows, VOCABULARY)).astype(np.float32)
    scores[:, 3] = -np.inf
    return scores


@pytest.mark.parametrize("given", GREEN, ids=str)
def test_green_tokens_are_those_of_transformers(given: dict[str, Any]) -> None:
    config: Any = check_watermark("watermarking_config", given)
    ours = WatermarkLogitsProcessor(config, VOCABULARY)
    theirs = transformers.WatermarkingConfig(**given).construct_processor(VOCABULARY, "cpu")
    for length in (1, 2, 6):
        ids = np.random.default_rng(length).integers(0, VOCABULARY, (3, length))
        scores = scores_of(length, 3)
        expected = theirs(torch.from_numpy(ids), torch.from_numpy(scores.copy())).numpy()
        ours(ids, scores, np.arange(3))
        np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize("given", PLAYED, ids=str)
def test_the_tournament_is_that_of_transformers(given: dict[str, Any]) -> None:
    config: Any = check_watermark("watermarking_config", given)
    ours = SynthIDTextWatermarkLogitsProcessor(config, start=2)
    defaults = {"sampling_table_size": 2**16, "sampling_table_seed": 0, "context_history_size": 1024}
    theirs = reference.SynthIDTextWatermarkLogitsProcessor(**defaults | given, device="cpu")
    # Few different tokens, so that contexts occur again.
    ids = np.random.default_rng(5).integers(0, 3, (4, 14))
    for length in range(2, ids.shape[1] + 1):
        scores = scores_of(length, 4)
        expected = theirs(torch.from_numpy(ids[:, :length]), torch.from_numpy(scores.copy())).numpy()
        ours(ids[:, :length], scores, np.arange(4))
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)


SEARCHES: list[dict[str, Any]] = [{}, {"num_beams": 3, "num_return_sequences": 2}, {"renormalize_logits": True}]
# transformers keeps one state of SynthID for all beams, whichever is where.
PAIRS = [(given, search) for search in SEARCHES for given in [*GREEN, *([] if "num_beams" in search else PLAYED[:3])]]


@pytest.mark.parametrize("architecture", ["llama", "t5"])
@pytest.mark.parametrize(("given", "options"), PAIRS, ids=str)
@pytest.mark.filterwarnings("ignore")
def test_a_search_writes_what_transformers_writes(
    options: dict[str, Any], given: dict[str, Any], architecture: str
) -> None:
    kind = transformers.SynthIDTextWatermarkingConfig if "ngram_len" in given else transformers.WatermarkingConfig
    search = {"max_new_tokens": 14, "do_sample": False, "watermarking_config": kind(**given), **ENDS, **options}
    ids, mask = batch(architecture, (6,))
    decoder = TorchDecoder(model(architecture))
    (found,) = generate(decoder, ids, mask, generation_config(decoder, {}, search))
    tensors = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    expected = model(architecture).generate(**tensors, **search)
    start = 0 if decoder.is_encoder_decoder else ids.shape[1]
    for ours, theirs in zip(found, expected.tolist(), strict=True):
        assert ours.token_ids == theirs[start : start + len(ours.token_ids)]


def test_drawn_tokens_are_watermarked() -> None:
    decoder = TorchDecoder(model("llama"))
    ids, mask = batch("llama", (6,) * 8)
    search: dict[str, Any] = {"max_new_tokens": 30, "do_sample": True, "seed": 1, "top_k": 0, "eos_token_id": None}
    given = {"bias": 12.0, "greenlist_ratio": 0.3}
    detector = transformers.WatermarkDetector(
        model_config=model("llama").config,
        device="cpu",
        watermarking_config=transformers.WatermarkingConfig(**given),
    )

    def green(options: dict[str, Any]) -> float:
        found = generate(decoder, ids, mask, generation_config(decoder, {}, search | options))
        texts = torch.tensor([[*row[-1:], *each.token_ids] for row, (each,) in zip(ids.tolist(), found, strict=True)])
        return float(np.mean(detector(texts, return_dict=True).green_fraction))

    plain, marked = green({}), green({"watermarking_config": given})
    assert plain < 0.6
    assert marked > 0.9
    assert green({"watermarking_config": given, "num_beams": 2}) > 0.9


def test_beams_have_no_watermark_of_synthid() -> None:
    decoder = TorchDecoder(model("llama"))
    with pytest.raises(InputError, match="a watermark of SynthID contradicts num_beams=2"):
        generation_config(decoder, {}, {"watermarking_config": PLAYED[0], "num_beams": 2})
