"""Checkpoints of real sizes with random weights that generate.

    python -m benchmarks.generation.generation_checkpoints NAME FOLDER [DTYPE ...]

writes FOLDER/checkpoint (for transformers and all who convert it) and FOLDER/bundle (ours), each where it is not there.
With the option `--kv-cache-dtype int8` it is FOLDER/bundle-int8-cache.
Speed does not depend on the values of weights, nor on the words of the vocabulary, of which only the number is the real
one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.turns import print_progress

DTYPES = ("fp32", "int8", "w8", "q4")
# Positions of the models for long texts.
LONG = 4352


def make_apart(name: str, folder: Path, dtypes: Sequence[str] = DTYPES, cache_dtype: str = "fp32") -> Path:
    """Write everything for a checkpoint where it is not there, in a process of its own: torch stays out of this one.

    Returns:
        The bundle.
    """
    bundle = bundle_folder(folder, cache_dtype)
    if not bundle.exists():
        print_progress(f"{name}: making the checkpoint and exporting it")
        command = [sys.executable, "-m", "benchmarks.generation.generation_checkpoints", name, str(folder), *dtypes]
        command += ["--kv-cache-dtype", cache_dtype]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return bundle


def bundle_folder(folder: Path, cache_dtype: str) -> Path:
    """Where the bundle is whose keys and values are in a dtype."""
    return folder / ("bundle" if cache_dtype == "fp32" else f"bundle-{cache_dtype}-cache")


def make(name: str, folder: Path, dtypes: Sequence[str], cache_dtype: str = "fp32") -> None:
    """Write everything for one of the checkpoints."""
    from edgepipe_export import export

    checkpoint = folder / "checkpoint"
    if not checkpoint.exists():
        make_checkpoint(name, checkpoint)
    bundle = bundle_folder(folder, cache_dtype)
    export(str(checkpoint), bundle, dtypes=dtypes, kv_cache_dtype=cache_dtype, verify=False)


def make_checkpoint(name: str, folder: Path) -> None:
    """Write one of the checkpoints alone."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    torch.manual_seed(0)
    config = CONFIGS[name]()
    model = (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM).from_config(config)
    # Texts are as long as they are asked to be.
    setattr(model.generation_config, "forced_eos_token_id" if config.is_encoder_decoder else "eos_token_id", None)
    model.eval().save_pretrained(folder)
    write_tokenizer(folder, config.vocab_size, is_bart=config.is_encoder_decoder)


def _gpt2() -> Any:
    """124 million weights."""
    from transformers import GPT2Config

    return GPT2Config()


def _bart_base() -> Any:
    """139 million weights."""
    from transformers import BartConfig

    config = BartConfig(
        d_model=768,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=12,
        decoder_attention_heads=12,
        encoder_ffn_dim=3072,
        decoder_ffn_dim=3072,
    )
    # What CTranslate2's converter reads and today's configs leave out.
    for key in ("normalize_before", "add_final_layer_norm", "add_bias_logits", "static_position_embeddings"):
        setattr(config, key, False)
    config.normalize_embedding = True
    return config


def _llama_134m() -> Any:
    """134 million weights: the layers of a Llama as wide as GPT-2, and its vocabulary twice."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=32000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=2048,
        bos_token_id=31999,
        eos_token_id=31999,
    )


def _qwen2_half_b() -> Any:
    """494 million weights: the sizes of Qwen2-0.5B."""
    from transformers import Qwen2Config

    return Qwen2Config(
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        bos_token_id=151935,
        eos_token_id=151935,
    )


def _gpt2_long() -> Any:
    """127 million weights: GPT-2 with positions for long texts."""
    from transformers import GPT2Config

    return GPT2Config(n_positions=LONG)


def _llama_long() -> Any:
    """100 million weights: a Llama with three queries a key, for long texts."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=32000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        max_position_embeddings=LONG,
        tie_word_embeddings=True,
        bos_token_id=31999,
        eos_token_id=31999,
    )


CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt2": _gpt2,
    "bart-base": _bart_base,
    "llama-134m": _llama_134m,
    "qwen2-0.5b": _qwen2_half_b,
    "gpt2-long": _gpt2_long,
    "llama-long": _llama_long,
}


def write_tokenizer(folder: Path, size: int, *, is_bart: bool) -> None:
    """A byte-level tokenizer of so many words, most of them made up."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import BartTokenizer, GPT2Tokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>"] if is_bart else []
    last = ["<mask>"] if is_bart else ["<|endoftext|>"]
    known = [*special, *sorted(ByteLevel.alphabet())]
    words = [*known, *(f"w{number}" for number in range(size - len(known) - len(last))), *last]
    folder.mkdir(exist_ok=True)
    vocabulary = {word: number for number, word in enumerate(words)}
    (BartTokenizer if is_bart else GPT2Tokenizer)(vocab=vocabulary, merges=[]).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONFIGS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("dtypes", nargs="*")
    parser.add_argument("--kv-cache-dtype", default="fp32")
    given = parser.parse_args()
    make(given.name, given.folder, given.dtypes or DTYPES, given.kv_cache_dtype)
