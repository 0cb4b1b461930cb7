"""The student: a few of the teacher's layers over a few of its word pieces."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from training.vocabulary import SPECIAL_TOKENS, cut_tokenizer

__all__ = ["build_student", "clip_embeddings", "round_to_bfloat16", "save_student", "student_tokenizer"]

# What transformers writes for every model and only decoders read.
_DECODER_KEYS = ("add_cross_attention", "is_decoder", "tie_word_embeddings", "use_cache")


def student_tokenizer(teacher_directory: Path, pieces: Sequence[str]) -> Tokenizer:
    """The teacher's tokenizer, cut down to `pieces`."""
    full = json.loads((teacher_directory / "tokenizer.json").read_text(encoding="utf-8"))
    return Tokenizer.from_str(json.dumps(cut_tokenizer(full, pieces)))


def build_student(teacher: nn.Module, old_ids: Sequence[int], layers: Sequence[int], max_positions: int) -> nn.Module:
    """Copy the teacher with some of its layers, embedding rows and positions.

    Args:
        teacher: A `BertForSequenceClassification`.
        old_ids: The teacher's id of each of the student's pieces.
        layers: The teacher's layers to start from, lowest first.
        max_positions: The longest sequence, in tokens.

    Returns:
        A `BertForSequenceClassification` with `len(layers)` layers.
    """
    source: Any = teacher
    config = BertConfig(
        vocab_size=len(old_ids),
        hidden_size=source.config.hidden_size,
        num_hidden_layers=len(layers),
        num_attention_heads=source.config.num_attention_heads,
        intermediate_size=source.config.intermediate_size,
        max_position_embeddings=max_positions,
        type_vocab_size=source.config.type_vocab_size,
        layer_norm_eps=source.config.layer_norm_eps,
        pad_token_id=0,
        id2label={0: "NEGATIVE", 1: "POSITIVE"},
        label2id={"NEGATIVE": 0, "POSITIVE": 1},
        problem_type="single_label_classification",
    )
    student = BertForSequenceClassification(config)
    state = {}
    for name, tensor in source.state_dict().items():
        prefix, found, rest = name.partition("encoder.layer.")
        if found:
            layer, _, rest = rest.partition(".")
            if int(layer) not in layers:
                continue
            name = f"{prefix}{found}{layers.index(int(layer))}.{rest}"
        elif name.endswith("word_embeddings.weight"):
            tensor = tensor[torch.tensor(old_ids)]
        elif name.endswith("position_embeddings.weight"):
            tensor = tensor[:max_positions]
        elif name.endswith("position_ids"):
            continue
        state[name] = tensor.clone()
    student.load_state_dict(state)
    result: nn.Module = student
    return result


def clip_embeddings(student: Any, limit: float) -> None:
    """Keep the word embeddings within ±`limit`.

    A quantized embedding table has one scale for all its rows, so a single outlier (the teacher's largest value is
    19 standard deviations out) makes every other value coarser.
    """
    with torch.no_grad():
        student.bert.embeddings.word_embeddings.weight.clamp_(-limit, limit)


def round_to_bfloat16(model: nn.Module) -> None:
    """Round the weights, in place, to what bfloat16 can hold: what is measured is then what is stored."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16().float())


def save_student(student: Any, tokenizer: Tokenizer, directory: Path) -> None:
    """Write config.json, model.safetensors, tokenizer.json and tokenizer_config.json.

    The weights are stored in bfloat16, half the size; config.json says float32, so that they are computed with in
    float32 by whoever loads them without naming a dtype.
    """
    directory.mkdir(parents=True, exist_ok=True)
    student.to(torch.bfloat16).save_pretrained(directory)
    student.float()
    saved = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    config = {key: value for key, value in saved.items() if value is not None and key not in _DECODER_KEYS}
    _write_json(directory / "config.json", {**config, "dtype": "float32"})
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": student.config.max_position_embeddings,
        **dict(zip(names, SPECIAL_TOKENS, strict=True)),
    }
    _write_json(directory / "tokenizer_config.json", settings)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
