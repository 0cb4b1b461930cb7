"""The arguments of transformers' ``generate`` that have no use here: which values are taken, as they change no token,
and what to do instead of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgepipe.arguments import ReferenceOption, is_any, is_count, is_flag, is_none, is_number, is_off

_ROUND_NOTHING = (
    "dynamic", "offloaded", "static", "offloaded_static", "sliding_window", "hybrid", "hybrid_chunked",
    "offloaded_hybrid", "offloaded_hybrid_chunked",
)  # fmt: skip
_FROM_THE_TEXT = "a pipeline makes it of the text; leave it out"
_ASSISTED = "it changes no token; leave it out, or pass assistant_model to text-generation"
_CONSTRAINED = "edgepipe has no constrained beam search; pass prefix_allowed_tokens_fn, or leave it out"
_RESULTS = "a result is text or token ids; leave it out, or run the bundle's graph with onnxruntime"


def _is_empty(value: Any) -> bool:
    """Whether there is nothing in a list or a dict."""
    return value is None or (hasattr(value, "__len__") and len(value) == 0)


def _masks_nothing(value: Any) -> bool:
    """Whether a mask has no zeros."""
    return value is None or bool(np.asarray(value).all())


# How PyTorch computes, which changes no token.
_COMPUTATION: Mapping[str, ReferenceOption] = {
    "use_cache": ReferenceOption(is_flag, "pass True, False or None; the graph has a cache or has none"),
    "logits_to_keep": ReferenceOption(is_count, "pass a whole number; a search reads the last logits alone"),
    "cache_implementation": ReferenceOption(
        lambda value: value is None or (isinstance(value, str) and value in _ROUND_NOTHING),
        "it would round keys and values; export a smaller variant of the bundle, or leave it out",
    ),
    "cache_config": ReferenceOption(_is_empty, "it is for caches of PyTorch; leave it out"),
    "max_cache_len": ReferenceOption(is_count, "pass a whole number; the cache grows as it must"),
    "prefill_chunk_size": ReferenceOption(is_count, "pass a whole number; a prompt is read at once"),
    "compile_config": ReferenceOption(is_any, ""),
    "disable_compile": ReferenceOption(is_flag, "pass True, False or None; a graph is not compiled"),
    "synced_gpus": ReferenceOption(is_flag, "pass True, False or None; a bundle runs on one device"),
    "low_memory": ReferenceOption(is_off, "give it to pipeline(), where it keeps the weights mapped"),
    "continuous_batching_config": ReferenceOption(is_none, "pass batch_size; prompts are batched by it"),
}

# What transformers writes faster with, token for token; without an assistant most of them do nothing there either.
_ASSISTANCE: Mapping[str, ReferenceOption] = {
    "num_assistant_tokens_schedule": ReferenceOption(is_any, ""),
    "assistant_lookbehind": ReferenceOption(is_any, ""),
    "target_lookbehind": ReferenceOption(is_any, ""),
    "assistant_ensemble_weight": ReferenceOption(is_any, ""),
    "is_assistant": ReferenceOption(is_off, _ASSISTED),
    "assistant_model": ReferenceOption(is_none, _ASSISTED),
    "assistant_tokenizer": ReferenceOption(is_none, _ASSISTED),
    "assistant_early_exit": ReferenceOption(is_none, _ASSISTED),
    "speculation_type": ReferenceOption(is_none, _ASSISTED),
    "use_mtp": ReferenceOption(is_off, _ASSISTED),
}

# What a result would hold beside text.
_OUTPUTS: Mapping[str, ReferenceOption] = {
    "return_dict_in_generate": ReferenceOption(is_flag, "pass True, False or None; a result is a dict in any case"),
    "output_attentions": ReferenceOption(is_off, _RESULTS),
    "output_hidden_states": ReferenceOption(is_off, _RESULTS),
    "output_scores": ReferenceOption(is_off, _RESULTS),
    "output_logits": ReferenceOption(is_off, _RESULTS),
}

# What the pipeline itself gives to `generate`.
_INPUTS: Mapping[str, ReferenceOption] = {
    "negative_prompt_attention_mask": ReferenceOption(
        _masks_nothing, "it masks tokens of negative_prompt_ids; leave these out there"
    ),
    "tokenizer": ReferenceOption(is_any, ""),  # for stop_strings; the bundle's is taken
    "use_model_defaults": ReferenceOption(
        lambda value: value is None or value is True,
        "the checkpoint's generation_config.json holds where nobody says otherwise; pass other values",
    ),
    "trust_remote_code": ReferenceOption(is_off, "a bundle has no code; leave it out"),
    **{
        name: ReferenceOption(is_none, _FROM_THE_TEXT)
        for name in (
            "inputs", "input_ids", "attention_mask", "position_ids", "token_type_ids", "inputs_embeds",
            "past_key_values", "decoder_input_ids", "decoder_attention_mask", "encoder_outputs",
        )
    },
}  # fmt: skip

# What changes tokens, and is missing here; a checkpoint's generation_config.json may ask for it too.
UNSUPPORTED_OPTIONS: Mapping[str, ReferenceOption] = {
    "constraints": ReferenceOption(_is_empty, _CONSTRAINED),
    "force_words_ids": ReferenceOption(_is_empty, _CONSTRAINED),
    "penalty_alpha": ReferenceOption(
        lambda value: value is None or (is_number(value) and value == 0),
        "edgepipe has no contrastive search; leave it out",
    ),
    "dola_layers": ReferenceOption(is_none, "edgepipe has no DoLa decoding; leave it out"),
    "token_healing": ReferenceOption(is_off, "edgepipe heals no tokens; end the prompt where a word ends"),
    "custom_generate": ReferenceOption(is_none, "a bundle runs no code; leave it out"),
}

# All others, by name.
GENERATE_OPTIONS: Mapping[str, ReferenceOption] = {**_COMPUTATION, **_ASSISTANCE, **_OUTPUTS, **_INPUTS}
