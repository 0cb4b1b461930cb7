"""Tiny random models, one an architecture, that answer visibly different texts visibly differently.

Weights come from numpy by parameter name, so they are the same under every version of torch and transformers;
transformers' own initialization (0.02) would give nearly the same logits for every text.

To add an architecture: a directory of tokenizer files in ``tests/data/tokenizers`` and one entry in ``ARCHITECTURES``.
To add a head: one line in ``HEADS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoTokenizer

TOKENIZERS = Path(__file__).parents[1] / "data" / "tokenizers"

# Longest input in tokens of every tiny model.
LIMIT = 64

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
# Ids that a config names, and where the tokenizer has them.
_TOKEN_IDS = {
    "pad_token_id": "pad_token_id",
    "bos_token_id": "cls_token_id",
    "eos_token_id": "sep_token_id",
    "cls_token_id": "cls_token_id",
    "sep_token_id": "sep_token_id",
}

HEADS: dict[str, str] = {
    "text-classification": "AutoModelForSequenceClassification",
    "zero-shot-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "fill-mask": "AutoModelForMaskedLM",
    "question-answering": "AutoModelForQuestionAnswering",
    "feature-extraction": "AutoModel",
}


@dataclass(frozen=True)
class Architecture:
    """What sets a family apart.

    Attributes:
        tokenizer: Directory in ``tests/data/tokenizers``.
        model_type: As in ``config.json``.
        config: Beside SIZES.
        extra_positions: Rows of the position table that no token can use (RoBERTa counts on from its padding id).
    """

    tokenizer: str
    model_type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    extra_positions: int = 0


ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture("bert", "bert"),
    "distilbert": Architecture(
        "distilbert",
        "distilbert",
        {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4, "seq_classif_dropout": 0.0},
    ),
    "roberta": Architecture("roberta", "roberta", {"type_vocab_size": 1}, extra_positions=2),
    "xlm-roberta": Architecture("xlm-roberta", "xlm-roberta", {"type_vocab_size": 1}, extra_positions=2),
    "albert": Architecture("albert", "albert", {"embedding_size": 16}),
    "electra": Architecture("electra", "electra", {"embedding_size": 16}),
    "deberta-v2": Architecture(
        "deberta-v2",
        "deberta-v2",
        {
            "relative_attention": True,
            "max_relative_positions": -1,
            "pos_att_type": ["c2p", "p2c"],
            "position_biased_input": True,
            "type_vocab_size": 2,
            "conv_kernel_size": 3,
            "conv_act": "gelu",
        },
    ),
    "deberta-v3": Architecture(
        "deberta-v2",
        "deberta-v2",
        {
            "relative_attention": True,
            "max_relative_positions": -1,
            "position_buckets": 8,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "type_vocab_size": 0,
        },
    ),
    "mpnet": Architecture("mpnet", "mpnet", extra_positions=2),
    "modernbert": Architecture(
        "modernbert",
        "modernbert",
        {"local_attention": 16, "global_attn_every_n_layers": 2, "classifier_pooling": "mean"},
    ),
}


def build(
    architecture: str,
    *,
    task: str = "text-classification",
    num_labels: int = 3,
    problem_type: str | None = None,
    labels: tuple[str, ...] = (),
    directory: Path | None = None,
    seed: int = 0,
    **config: Any,
) -> tuple[Any, Any]:
    """Make a tiny model and its tokenizer.

    Args:
        architecture: A name in ARCHITECTURES.
        task: A name in HEADS.
        num_labels: Number of labels.
        problem_type: As in ``config.json``.
        labels: Names of the labels in order, in place of LABEL_0 and so on.
        directory: Where to save both, as a checkpoint; None for nowhere.
        seed: Another seed gives other weights.
        **config: Goes before what the table says.

    Returns:
        The transformers model (fp32, eager attention, evaluation mode) and the transformers tokenizer.
    """
    entry = ARCHITECTURES[architecture]
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / entry.tokenizer, model_max_length=LIMIT)
    token_ids = {name: getattr(tokenizer, source) for name, source in _TOKEN_IDS.items()}
    names = labels or tuple(f"LABEL_{index}" for index in range(num_labels))
    settings = AutoConfig.for_model(
        entry.model_type,
        **SIZES
        | {"vocab_size": len(tokenizer), "max_position_embeddings": LIMIT + entry.extra_positions}
        | token_ids
        | {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
        | {"problem_type": problem_type}
        | dict(entry.config)
        | config,
    )
    settings._attn_implementation = "eager"
    with torch.random.fork_rng():  # transformers' own initialization draws from torch's generator
        model = getattr(transformers, HEADS[task]).from_config(settings, dtype=torch.float32)
    draw_weights(model, seed)
    model.eval()
    center(model, tokenizer)
    if directory is not None:
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return model, tokenizer


def draw_weights(model: Any, seed: int) -> None:
    """Fill every parameter from a generator of its own, seeded with its name.

    Norms get weights around 1; matrices more than what keeps the variance, and embeddings a wide spread, so that
    texts are told apart by their words more than by their length; the last layer spreads the scores.
    """
    for name, parameter in model.named_parameters():
        generator = np.random.default_rng([seed, crc32(name.encode())])
        noise = generator.standard_normal(tuple(parameter.shape))
        if parameter.ndim == 1:
            is_norm_weight = name.endswith(".weight")
            values = float(is_norm_weight) + 0.1 * noise
        elif "position" in name:
            values = 0.3 * noise
        elif "embedding" in name or "relative_attention_bias" in name:
            values = noise
        else:
            fan_in = noise[0].size
            values = noise * (2.5 if name.startswith("classifier") else 2.0) / np.sqrt(fan_in)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values.astype(np.float32)))
    model.tie_weights()


def center(model: Any, tokenizer: Any) -> None:
    """Shift the last bias so that no label wins whatever the text; heads without labels stay as they are.

    Rounded, so that another version of torch, which may differ in the last bits, gives the same weights.
    """
    biases = [parameter for name, parameter in model.named_parameters() if name.startswith("classifier")]
    if not biases:
        return
    texts = ["I love this", "What a waste of time.", "", "你好", "The 2nd of May, 12:30", "a a a a a a a a a a a a"]
    with torch.no_grad():
        logits = [model(**tokenizer(text, return_tensors="pt")).logits for text in texts]
        mean = torch.cat([each.reshape(-1, each.shape[-1]) for each in logits]).mean(dim=0)
        biases[-1].copy_((biases[-1] - mean).mul(100).round().div(100))
