"""Tiny random models that generate, and batches for them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoConfig

from tests.tiny import draw_weights

VOCABULARY = 41
PAD, BOS, EOS = 0, 1, 2
# For each model tokens that it does generate, so that sequences end at different lengths.
ENDS = {"eos_token_id": list(range(3, 9))}

_IDS = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
_DECODER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 96}
_BART = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 96,
    "decoder_start_token_id": EOS,
    "forced_eos_token_id": None,
}
_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": PAD}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("AutoModelForCausalLM", _DECODER),
    "llama": ("AutoModelForCausalLM", _DECODER | {"num_key_value_heads": 1, "intermediate_size": 32}),
    "bart": ("AutoModelForSeq2SeqLM", _BART),
    "t5": ("AutoModelForSeq2SeqLM", _T5),
}


@cache
def model(architecture: str, seed: int = 0) -> Any:
    """A model of a small vocabulary, in evaluation mode."""
    head, config = MODELS[architecture]
    settings = AutoConfig.for_model(architecture, vocab_size=VOCABULARY, **_IDS | config)
    settings._attn_implementation = "eager"
    with torch.random.fork_rng():
        made = getattr(transformers, head).from_config(settings)
    draw_weights(made, seed)
    made.eval()
    made.generation_config.max_length = None
    return made


def batch(architecture: str, lengths: tuple[int, ...] = (5, 9, 2), seed: int = 0) -> tuple[Any, Any]:
    """Random inputs of these lengths, int64[rows, longest], and their attention mask; padded as the model wants it."""
    generator = np.random.default_rng(seed)
    ids = np.full((len(lengths), max(lengths)), PAD)
    mask = np.zeros_like(ids)
    pads_left = not model(architecture).config.is_encoder_decoder
    for row, length in enumerate(lengths):
        places = slice(ids.shape[1] - length, None) if pads_left else slice(length)
        ids[row, places] = generator.integers(3, VOCABULARY, length)
        mask[row, places] = 1
    return ids, mask
