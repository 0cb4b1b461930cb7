"""Parity of an exported tiny model with ``transformers``: scores step by step, and the tokens of greedy and beams."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgepipe import Bundle
from edgepipe.backend.session import SessionConfig
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe_export import export
from edgepipe_export.checkpoint.architectures import find_architecture
from edgepipe_export.checkpoint.model_inputs import cache_name
from tests.tiny.generative import ENCODER_DECODERS, build_generative

TEXTS = ("Hello there, my friend", "The 2nd of May", "a", "What a waste of time. I want my money back")
# Each text alone, and all in one batch.
BATCHES = (*((text,) for text in TEXTS), TEXTS)
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"max_new_tokens": 20},
    "beam search": {"max_new_tokens": 16, "num_beams": 3},
}
# Options of ``generate`` that make up coverage, beside the two above.
OPTIONS: dict[str, dict[str, Any]] = {
    "repetition_penalty": {"max_new_tokens": 12, "repetition_penalty": 1.3},
    "no_repeat_ngram_size": {"max_new_tokens": 12, "no_repeat_ngram_size": 2},
    "min_new_tokens": {"max_new_tokens": 12, "min_new_tokens": 10},
    "suppress_tokens": {"max_new_tokens": 12, "suppress_tokens": list(range(100, 200))},
    "bad_words_ids": {"max_new_tokens": 12, "bad_words_ids": [[101], [102, 103]]},
    "exponential_decay_length_penalty": {"max_new_tokens": 12, "exponential_decay_length_penalty": (3, 1.3)},
    "length_penalty": {"max_new_tokens": 10, "num_beams": 3, "length_penalty": -1.0},
    "early_stopping": {"max_new_tokens": 10, "num_beams": 2, "early_stopping": True},
}

# How many steps the scores are compared at.
_STEPS = 8


@dataclass(frozen=True)
class Tokens:
    """What a comparison found.

    Attributes:
        compared: Number of generated sequences.
        ended: How many of them ended before the limit.
        failures: What went wrong, in words.
    """

    compared: int
    ended: int
    failures: tuple[str, ...]


def export_generative(family: str, folder: Path) -> tuple[Any, Any, Bundle]:
    """Make a tiny model and export it; the model, its tokenizer and the bundle.

    The exporter's own verification is left out: what follows measures more.
    """
    model, tokenizer = build_generative(family)
    task = "text2text-generation" if family in ENCODER_DECODERS else "text-generation"
    bundle = export(model, folder / "bundle", task=task, tokenizer=tokenizer, verify=False, progress=False)
    return model, tokenizer, bundle


def compare_tokens(
    model: Any,
    tokenizer: Any,
    bundle: Bundle,
    session: SessionConfig | None = None,
    searches: Mapping[str, dict[str, Any]] = SEARCHES,
) -> Tokens:
    """Generate for every batch with every search, by the bundle and by transformers."""
    decoder = load_decoder(bundle, session=session)
    failures, compared, ended = [], 0, 0
    for search, options in searches.items():
        config = generation_config(decoder, {}, options)
        for texts in BATCHES:
            encoded = tokenizer(list(texts), return_tensors="np", padding=True)
            ids, mask = (encoded[name].astype(np.int64) for name in ("input_ids", "attention_mask"))
            got = [rows[0].token_ids for rows in generate(decoder, ids, mask, config)]
            for text, expected, tokens in zip(texts, reference(model, ids, mask, options), got, strict=True):
                compared += 1
                ended += len(expected) < options["max_new_tokens"]
                if tokens != expected:
                    failures.append(f"{search} of {text!r} in a batch of {len(texts)}: {tokens} instead of {expected}")
    return Tokens(compared, ended, tuple(failures))


def largest_difference(model: Any, tokenizer: Any, bundle: Bundle) -> float:
    """The largest absolute difference of the scores after each of some tokens, for a batch of mixed lengths.

    A decoder's are compared with those that PyTorch computes from the whole text, an encoder-decoder's with those of
    its usual cached steps, those of a decoder whose steps are not like the whole text with transformers' steps.
    """
    decoder = load_decoder(bundle)
    encoded = tokenizer(list(TEXTS), return_tensors="np", padding=True)
    ids, mask = (encoded[name].astype(np.int64) for name in ("input_ids", "attention_mask"))
    decoding = decoder.begin(ids, mask, ids.shape[1] + _STEPS)
    new = np.full((len(ids), 1), model.config.decoder_start_token_id) if decoder.is_encoder_decoder else ids
    written, past, largest = new, None, 0.0
    for _ in range(_STEPS):
        got = decoding.step(new)
        if decoder.is_encoder_decoder:
            expected, past = _stepped(model, ids, mask, new, past)
        elif find_architecture(model).steps_differ:
            expected, past = generate_step(model, written, past)
        else:
            expected = _scores(model, mask, written)
        largest = max(largest, float(np.abs(got - expected).max()))
        new = expected.argmax(-1)[:, None]
        written = np.concatenate([written, new], 1)
    return largest


def _stepped(model: Any, ids: Any, mask: Any, new: Any, past: Any) -> tuple[Any, Any]:
    """The scores after one more token of the target, float32[rows, vocabulary], and the cache."""
    with torch.no_grad():
        result = model(
            input_ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask),
            decoder_input_ids=torch.from_numpy(new),
            **{cache_name(model): past},
            use_cache=True,
        )
    return result.logits[:, -1].numpy(), getattr(result, cache_name(model))


def generate_step(model: Any, written: Any, past: Any) -> tuple[Any, Any]:
    """The scores of one step of ``generate``, float32[rows, vocabulary], and what it keeps for the next."""
    kept = {"use_cache": True} if past is None else past
    with torch.no_grad():
        result = model(**model.prepare_inputs_for_generation(torch.from_numpy(written), **kept), return_dict=True)
    return result.logits[:, -1].numpy(), model._update_model_kwargs_for_generation(result, kept)


def _scores(model: Any, mask: Any, written: Any) -> Any:
    """The scores after a prompt and what was written, float32[rows, vocabulary]."""
    ones = np.ones((len(written), written.shape[1] - mask.shape[1]), np.int64)
    whole = torch.from_numpy(np.concatenate([mask, ones], 1))
    positions = {"position_ids": (whole.cumsum(1) - 1).clamp(min=0)}
    if "position_ids" not in inspect.signature(model.forward).parameters:
        positions = {}
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(written), attention_mask=whole, **positions).logits[:, -1].numpy()


def reference(model: Any, ids: Any, mask: Any, options: dict[str, Any]) -> list[list[int]]:
    """What transformers generates, without the prompt and what fills up shorter rows."""
    with torch.no_grad():
        rows = model.generate(
            input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), do_sample=False, **options
        ).tolist()
    start = 1 if model.config.is_encoder_decoder else ids.shape[1]
    end = model.generation_config.eos_token_id
    found = []
    for row in rows:
        new = row[start:]
        new = new[: new.index(end) + 1] if end in new else new
        found.append(row[:start] + new if model.config.is_encoder_decoder else new)
    return found
