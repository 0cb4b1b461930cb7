"""A checkpoint of GPT-2's, Llama's or Qwen2's kind as llama.cpp reads it.

    python write_gguf.py CHECKPOINT FILE TYPE

TYPE is f32, q8_0 or q4_0; the last two are llama.cpp's own quantization of the first. FILE.json has the bytes of
weights that a new token reads. Runs in the environment of llama-cpp-python. llama.cpp's own converter knows tokenizers
by what they make of a text, and the one of a benchmark is none of those.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
from safetensors.numpy import load_file

FORMATS = {"f32": None, "q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, "q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0}
ARCHITECTURES = {
    "gpt2": gguf.MODEL_ARCH.GPT2,
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
}
# Of these one row is read for a token, unless the first is the last matrix, too.
_EMBEDDINGS, _POSITIONS, _OUTPUT = "token_embd.weight", "position_embd.weight", "output.weight"


def main(checkpoint: Path, file: Path, format_name: str) -> None:
    quantized = FORMATS[format_name]
    if quantized is None:
        write_exact(checkpoint, file)
    else:
        exact = file.with_suffix(".f32")
        write_exact(checkpoint, exact)
        options = llama_cpp.llama_model_quantize_default_params()
        options.ftype = quantized
        if llama_cpp.llama_model_quantize(bytes(exact), bytes(file), ctypes.byref(options)):
            raise SystemExit(f"llama.cpp could not write {file}")
        exact.unlink()
    file.with_suffix(".json").write_text(json.dumps({"bytes_read": count_bytes(file)}), encoding="utf-8")


def write_exact(checkpoint: Path, file: Path) -> None:
    """The checkpoint with all weights as they are."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    kind = config["model_type"]
    writer = gguf.GGUFWriter(file, kind)
    (_describe_gpt2 if kind == "gpt2" else _describe_llama)(writer, config)
    _add_tokenizer(writer, checkpoint)
    names = gguf.get_tensor_name_map(ARCHITECTURES[kind], config.get("n_layer") or config["num_hidden_layers"])
    for name, array in load_file(checkpoint / "model.safetensors").items():
        # Masks are no weights, and a matrix that has two places is written once.
        if name.endswith((".attn.bias", ".masked_bias")) or (name == "lm_head.weight" and _is_tied(config)):
            continue
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise SystemExit(f"{name} has no name in a GGUF file of {kind}")
        writer.add_tensor(known, np.ascontiguousarray(_arrange(name, array, config), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def count_bytes(file: Path) -> int:
    """The bytes of weights that a new token reads."""
    sizes = {tensor.name: int(tensor.n_bytes) for tensor in gguf.GGUFReader(file).tensors}
    by_row = {_POSITIONS, _EMBEDDINGS} if _OUTPUT in sizes else {_POSITIONS}
    return sum(size for name, size in sizes.items() if name not in by_row)


def _describe_gpt2(writer: Any, config: dict[str, Any]) -> None:
    writer.add_block_count(config["n_layer"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])


def _describe_llama(writer: Any, config: dict[str, Any]) -> None:
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])


def _is_tied(config: dict[str, Any]) -> bool:
    return bool(config.get("tie_word_embeddings", config["model_type"] == "gpt2"))


def _arrange(name: str, array: Any, config: dict[str, Any]) -> Any:
    """A weight as llama.cpp has it."""
    if config["model_type"] == "gpt2" and ".h." in name and array.ndim == 2:
        # transformers keeps the matrices of GPT-2's layers the other way round.
        return array.T
    heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
    if config["model_type"] == "llama" and heads is not None:
        # It turns pairs of neighbours, and transformers pairs that are half a head apart.
        apart = array.reshape(config[heads], 2, -1, *array.shape[1:])
        return apart.swapaxes(1, 2).reshape(array.shape)
    return array


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


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
