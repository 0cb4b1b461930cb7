"""A checkpoint of GPT-2's kind as llama.cpp reads it, its matrices in Q8_0.

    python write_gguf.py CHECKPOINT FILE

Runs in the environment of llama-cpp-python. llama.cpp's own converter knows tokenizers by what they make of a text, and
the one of a benchmark is none of those.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

Q8_0 = gguf.GGMLQuantizationType.Q8_0
# GGUF's names of what a layer has, by those of transformers.
_LAYER = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_ENDS = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}


def main(checkpoint: Path, file: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(file, "gpt2")
    writer.add_block_count(config["n_layer"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    _add_tokenizer(writer, checkpoint)
    for name, array in load_file(checkpoint / "model.safetensors").items():
        _add_tensor(writer, name.removeprefix("transformer."), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: Any, checkpoint: Path) -> None:
    vocabulary = json.loads((checkpoint / "vocab.json").read_text(encoding="utf-8"))
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(words) - 1) + [gguf.TokenType.CONTROL])
    # llama.cpp wants one. These two are in no text of the benchmark.
    writer.add_token_merges(["Ā ā"])
    writer.add_bos_token_id(len(words) - 1)
    writer.add_eos_token_id(len(words) - 1)
    writer.add_add_bos_token(False)


def _add_tensor(writer: Any, name: str, array: Any) -> None:
    parts = name.split(".")
    if parts[0] == "lm_head" or parts[-1] in ("attn.bias", "masked_bias") or name.endswith(".attn.bias"):
        return
    if parts[0] == "h":
        known = f"blk.{parts[1]}.{_LAYER['.'.join(parts[2:-1])]}.{parts[-1]}"
    else:
        known = f"{_ENDS[parts[0]]}.{parts[-1]}"
    if array.ndim == 1 or parts[0] == "wpe":
        writer.add_tensor(known, array.astype(np.float32))
        return
    # transformers keeps the matrices of GPT-2's layers the other way round.
    matrix = np.ascontiguousarray(array.T if parts[0] == "h" else array, np.float32)
    writer.add_tensor(known, gguf.quants.quantize(matrix, Q8_0), raw_dtype=Q8_0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
