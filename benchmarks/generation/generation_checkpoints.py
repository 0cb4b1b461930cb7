"""Checkpoints of real sizes with random weights that generate.

    python -m benchmarks.generation.generation_checkpoints NAME FOLDER

writes FOLDER/checkpoint (for transformers, optimum and CTranslate2) and FOLDER/bundle (ours). Speed does not depend on
the values of weights, nor on the words of the vocabulary, of which only the number is the real one.
"""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.turns import print_progress

DTYPES = ("fp32", "int8", "w8", "q4")


def make_apart(name: str, folder: Path) -> None:
    """Write everything for a checkpoint where it is not there, in a process of its own: torch stays out of this one."""
    if not (folder / "bundle").exists():
        print_progress(f"{name}: making the checkpoint and exporting it")
        command = [sys.executable, "-m", "benchmarks.generation.generation_checkpoints", name, str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make(name: str, folder: Path) -> None:
    """Write everything for ``gpt2`` (124 million weights) or ``bart-base`` (139 million)."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration, GPT2Config, GPT2LMHeadModel

    from edgepipe_export import export

    torch.manual_seed(0)
    if name == "gpt2":
        model = GPT2LMHeadModel(GPT2Config())
        model.generation_config.eos_token_id = None
    else:
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
        model = BartForConditionalGeneration(config)
        model.generation_config.forced_eos_token_id = None
    checkpoint = folder / "checkpoint"
    model.eval().save_pretrained(checkpoint)
    write_tokenizer(checkpoint, model.config.vocab_size, is_bart=name != "gpt2")
    export(str(checkpoint), folder / "bundle", dtypes=DTYPES, verify=False)


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
    make(sys.argv[1], Path(sys.argv[2]))
