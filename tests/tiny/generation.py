"""Token parity of an exported tiny model with ``transformers.generate``: greedy and beams, alone and in batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgepipe import Bundle
from edgepipe.generation.config import generation_config
from edgepipe.generation.generate import generate
from edgepipe.generation.graphs import load_decoder
from edgepipe_export import export
from tests.tiny.generative import DECODERS, build_generative

TEXTS = ("Hello there, my friend", "The 2nd of May", "a", "What a waste of time. I want my money back")
# Each text alone, and all in one batch.
BATCHES = (*((text,) for text in TEXTS), TEXTS)
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"max_new_tokens": 20},
    "beam search": {"max_new_tokens": 16, "num_beams": 3},
}


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
    task = "text-generation" if family in DECODERS else "text2text-generation"
    bundle = export(model, folder / "bundle", task=task, tokenizer=tokenizer, verify=False, progress=False)
    return model, tokenizer, bundle


def compare_tokens(model: Any, tokenizer: Any, bundle: Bundle) -> Tokens:
    """Generate for every batch with every search, by the bundle and by transformers."""
    decoder = load_decoder(bundle)
    failures, compared, ended = [], 0, 0
    for search, options in SEARCHES.items():
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
