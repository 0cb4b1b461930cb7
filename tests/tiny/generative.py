"""Tiny random models that generate, one a family; their greedy and beam search have margins, and end now and then.

To add a family: one entry in ``DECODERS`` or ``ENCODER_DECODERS``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

from tests.tiny import LIMIT, SIZES, TOKENIZERS, draw_weights
from tests.tiny.sizes import BART, BEAM, GPT, GROUPED, LEFT_OUT, NEWER, OPT, PROPHETNET, REFORMER, T5, XLNET
from tests.tiny.table import Architecture

# How much longer than the others the end's row of the last matrix is: a text ends after some dozen tokens.
END = 2.0
# How large tied embeddings are, beside the others' 1: at 1 their token would mostly be the next one, too.
TIED = 0.3
# Smaller than the test's texts, so that windows matter.
WINDOW = 6

_GPT = GPT | {"n_positions": LIMIT}
_LAYERED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
_GEMMA = GROUPED | _LAYERED | {"query_pre_attn_scalar": 8}

_DECODER = {"is_decoder": True}
# Whose tokens are those of Llama.
_LLAMA = ("gemma", "ministral3", "mixtral")

DECODERS: dict[str, Architecture] = {
    "gpt2": Architecture("gpt2", "gpt2", _GPT),
    "openai-gpt": Architecture("gpt2", "openai-gpt", _GPT),
    "gpt_neo": Architecture(
        "gpt2",
        "gpt_neo",
        {"num_layers": 2, "num_heads": 4, "window_size": WINDOW, "attention_types": [[["global", "local"], 1]]},
    ),
    "gpt_neox": Architecture("gpt2", "gpt_neox"),
    "gptj": Architecture("gpt2", "gptj", _GPT | {"rotary_dim": 4}),
    "codegen": Architecture("gpt2", "codegen", _GPT | {"rotary_dim": 4}),
    "opt": Architecture("gpt2", "opt", OPT),
    "bloom": Architecture("gpt2", "bloom", {"n_layer": 2, "n_head": 4}),
    "ctrl": Architecture("gpt2", "ctrl", {"n_embd": 32, "dff": 64, "n_layer": 2, "n_head": 4, "n_positions": LIMIT}),
    "xlnet": Architecture("gpt2", "xlnet", XLNET, 0, ("max_position_embeddings",)),
    "reformer": Architecture(
        "gpt2", "reformer", REFORMER | {"attn_layers": ["local", "local"], "is_decoder": True, "hash_seed": None}
    ),
    "llama": Architecture("llama", "llama", GROUPED),
    "mistral": Architecture("llama", "mistral", GROUPED | {"sliding_window": WINDOW}),
    "qwen2": Architecture("gpt2", "qwen2", GROUPED),
    "qwen3": Architecture("gpt2", "qwen3", GROUPED),
    "gemma2": Architecture("llama", "gemma2", _GEMMA),
    "gemma3_text": Architecture("llama", "gemma3_text", _GEMMA),
    "phi": Architecture("gpt2", "phi", {"num_key_value_heads": 2}),
    "smollm3": Architecture("gpt2", "smollm3", GROUPED | {"no_rope_layers": [1, 0]}),
    "falcon": Architecture("gpt2", "falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "phimoe": Architecture("llama", "phimoe", {"num_key_value_heads": 2, "num_local_experts": 2}),
    "phi3": Architecture("llama", "phi3", {"num_key_value_heads": 2, "sliding_window": WINDOW}),
    "olmo2": Architecture("gpt2", "olmo2", {"num_key_value_heads": 2}),
    "starcoder2": Architecture("gpt2", "starcoder2", {"num_key_value_heads": 2, "sliding_window": WINDOW}),
    "granite": Architecture("gpt2", "granite", {"num_key_value_heads": 2}),
    "stablelm": Architecture("gpt2", "stablelm", {"num_key_value_heads": 2}),
    # Encoders whose head writes, and decoders without their encoder.
    "bert": Architecture("bert", "bert", _DECODER),
    "roberta": Architecture("roberta", "roberta", _DECODER | {"type_vocab_size": 1}, extra_positions=2),
    "xlm-roberta": Architecture("xlm-roberta", "xlm-roberta", _DECODER | {"type_vocab_size": 1}, extra_positions=2),
    "camembert": Architecture("xlm-roberta", "camembert", _DECODER | {"type_vocab_size": 1}, extra_positions=2),
    "data2vec-text": Architecture("roberta", "data2vec-text", _DECODER | {"type_vocab_size": 1}, extra_positions=2),
    "electra": Architecture("electra", "electra", _DECODER | {"embedding_size": 16}),
    "ernie": Architecture("bert", "ernie", _DECODER),
    "megatron-bert": Architecture("bert", "megatron-bert", _DECODER),
    "rembert": Architecture("bert", "rembert", _DECODER | {"input_embedding_size": 16, "output_embedding_size": 16}),
    "roberta-prelayernorm": Architecture("roberta", "roberta-prelayernorm", _DECODER | {"type_vocab_size": 1}, 2),
    "roc_bert": Architecture("bert", "roc_bert", _DECODER | {"enable_pronunciation": False, "enable_shape": False}),
    "roformer": Architecture("bert", "roformer", _DECODER | {"embedding_size": 32}),
    "xlm-roberta-xl": Architecture("xlm-roberta", "xlm-roberta-xl", _DECODER | {"type_vocab_size": 1}, 2),
    "xmod": Architecture(
        "xlm-roberta",
        "xmod",
        _DECODER | {"languages": ["en_XX"], "default_language": "en_XX", "type_vocab_size": 1},
        2,
    ),
    "big_bird": Architecture("bert", "big_bird", _DECODER | {"attention_type": "original_full", "block_size": 4}),
    "modernbert-decoder": Architecture("modernbert", "modernbert-decoder", {"local_attention": 16}),
    "xlm": Architecture("bert", "xlm", {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "pad_index": 0, "causal": True}),
    "bart-decoder": Architecture("roberta", "bart", BART),
    "mbart-decoder": Architecture("xlm-roberta", "mbart", BART),
    "plbart-decoder": Architecture("xlm-roberta", "plbart", BART),
    "mvp-decoder": Architecture("roberta", "mvp", BART),
    "marian-decoder": Architecture("xlm-roberta", "marian", BART),
    "pegasus-decoder": Architecture("albert", "pegasus", BART),
    "blenderbot-decoder": Architecture("roberta", "blenderbot", BART),
    "blenderbot-small-decoder": Architecture("roberta", "blenderbot-small", BART),
    "bigbird_pegasus-decoder": Architecture("albert", "bigbird_pegasus", BART),
    "prophetnet-decoder": Architecture(
        "bert", "prophetnet", PROPHETNET, 0, ("num_hidden_layers", "num_attention_heads")
    ),
    "beam": Architecture("gpt2", "beam", BEAM),
    **{
        kind: Architecture("llama" if kind in _LLAMA else "gpt2", kind, sizes, 0, LEFT_OUT.get(kind, ()))
        for kind, sizes in NEWER.items()
    },
}

# The length at which the families below change what they do, within what a test can write.
SWITCH = 16
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "original_max_position_embeddings": SWITCH,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0, 8.0, 16.0, 32.0],
}

SWITCHING: dict[str, Architecture] = {
    "phi3-longrope": Architecture(
        "llama",
        "phi3",
        {"num_key_value_heads": 2, "original_max_position_embeddings": SWITCH, "rope_parameters": _LONGROPE},
    ),
    "phimoe-longrope": Architecture(
        "llama",
        "phimoe",
        {
            "num_key_value_heads": 2,
            "num_local_experts": 2,
            "rope_parameters": _LONGROPE | {"short_mscale": 1.1, "long_mscale": 1.3},
        },
    ),
    "llama-longrope": Architecture("llama", "llama", GROUPED | {"rope_parameters": _LONGROPE}),
    "qwen2-windows": Architecture(
        "gpt2", "qwen2", GROUPED | {"use_sliding_window": True, "sliding_window": SWITCH, "max_window_layers": 1}
    ),
    "mistral-window": Architecture("llama", "mistral", GROUPED | {"sliding_window": SWITCH}),
}

_SCALED = {"scale_embedding": True}

ENCODER_DECODERS: dict[str, Architecture] = {
    "t5": Architecture("albert", "t5", T5),
    "t5-gated": Architecture("albert", "t5", T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "mt5": Architecture("albert", "mt5", T5),
    "umt5": Architecture("albert", "umt5", T5),
    "bart": Architecture("roberta", "bart", BART),
    "mbart": Architecture("xlm-roberta", "mbart", BART | _SCALED),
    "marian": Architecture("xlm-roberta", "marian", BART | _SCALED),
    "m2m_100": Architecture("xlm-roberta", "m2m_100", BART | _SCALED),
    "pegasus": Architecture("albert", "pegasus", BART | _SCALED),
    "led": Architecture(
        "roberta",
        "led",
        BART
        | {"attention_window": 8, "max_encoder_position_embeddings": LIMIT, "max_decoder_position_embeddings": LIMIT},
    ),
    "blenderbot": Architecture("roberta", "blenderbot", BART | _SCALED),
    "blenderbot-small": Architecture("roberta", "blenderbot-small", BART),
    "prophetnet": Architecture(
        "bert",
        "prophetnet",
        PROPHETNET | {"is_encoder_decoder": True},
        without=("num_hidden_layers", "num_attention_heads"),
    ),
    "pegasus_x": Architecture("albert", "pegasus_x", BART | {"block_size": 8, "num_global_tokens": 4}),
    "bigbird_pegasus": Architecture(
        "albert", "bigbird_pegasus", BART | {"attention_type": "original_full", "block_size": 4}
    ),
    "plbart": Architecture("xlm-roberta", "plbart", BART | _SCALED),
    "mvp": Architecture("roberta", "mvp", BART),
}

FAMILIES = DECODERS | ENCODER_DECODERS

# Those that the exporter refuses, with the reason.
REFUSED = ("xlm", "prophetnet-decoder", "lara_mini", "inkling2_loop_text")


def build_generative(
    family: str,
    *,
    tokenizer_name: str | None = None,
    directory: Path | None = None,
    seed: int = 0,
    gain: float = 3.0,
    **config: Any,
) -> tuple[Any, Any]:
    """Make a tiny model that generates, and its tokenizer.

    Args:
        family: A name in FAMILIES or SWITCHING.
        tokenizer_name: Directory in ``tests/data/tokenizers``, in place of the family's.
        directory: Where to save both, as a checkpoint; None for nowhere.
        seed: Another seed gives other weights.
        gain: See :func:`tests.tiny.build`.
        **config: Goes before what the table says.

    Returns:
        The transformers model (fp32, eager attention, evaluation mode) and the transformers tokenizer, which pads a
        decoder's prompts on the left.
    """
    entry, auto_class = (
        (ENCODER_DECODERS[family], AutoModelForSeq2SeqLM)
        if family in ENCODER_DECODERS
        else ((DECODERS | SWITCHING)[family], AutoModelForCausalLM)
    )
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / (tokenizer_name or entry.tokenizer), model_max_length=LIMIT)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if family not in ENCODER_DECODERS:
        tokenizer.padding_side = "left"
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    ends["eos_token_id"] = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    named = (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.pad_token_id)
    starts = next(token for token in named if token is not None)
    wanted = SIZES | ends | {"bos_token_id": starts, "vocab_size": len(tokenizer)}
    wanted |= {"max_position_embeddings": LIMIT + entry.extra_positions}
    if family in ENCODER_DECODERS:
        wanted |= {"decoder_start_token_id": starts, "forced_eos_token_id": None}
    for name in entry.without:
        del wanted[name]
    settings = AutoConfig.for_model(entry.model_type, **wanted | dict(entry.config) | config)
    settings._attn_implementation = "eager"
    with torch.random.fork_rng():  # transformers' own initialization draws from torch's generator
        model = auto_class.from_config(settings, dtype=torch.float32)
    draw_weights(model, seed, gain)
    _vary(model, ends["eos_token_id"])
    model.eval()
    model.generation_config = GenerationConfig(
        **ends,
        bos_token_id=starts,
        **{"decoder_start_token_id": starts} if family in ENCODER_DECODERS else {},
    )
    if directory is not None:
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return model, tokenizer


def _vary(model: Any, end: int) -> None:
    """Keep a model from repeating its last token for ever: shrink tied embeddings, and make the end likelier."""
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    with torch.no_grad():
        if embeddings is head:
            embeddings *= TIED * (embeddings.shape[1] ** -0.5 if _multiplies_embeddings(model.config) else 1)
        head[end] *= END


def _multiplies_embeddings(config: Any) -> bool:
    return getattr(config, "scale_embedding", False) or config.model_type.startswith("gemma")
