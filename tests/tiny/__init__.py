"""Tiny random models, one an architecture, that answer visibly different texts visibly differently.

Weights come from numpy by parameter name, so they are the same under every version of torch and transformers;
transformers' own initialization (0.02) would give nearly the same logits for every text.

To add an architecture: one entry in ``tests/tiny/table.py``, and a directory of tokenizer files in
``tests/data/tokenizers`` unless one of those serves.
To add a head: one line in ``HEADS``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoTokenizer
from transformers.models.auto import modeling_auto

from edgepipe_export.checkpoint.load import auto_class
from tests.tiny.sizes import LIMIT, SIZES
from tests.tiny.table import ARCHITECTURES, MORE

# A tiny model has nothing to share out, and threads that wait for each other are slow where cores are busy.
torch.set_num_threads(1)

TOKENIZERS = Path(__file__).parents[1] / "data" / "tokenizers"

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

# The names of transformers' tables that say which architecture has which head.
TABLES = {
    "text-classification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "token-classification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "question-answering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
    "fill-mask": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "feature-extraction": "MODEL_MAPPING_NAMES",
}


def heads(architecture: str) -> tuple[str, ...]:
    """The tasks whose head an architecture has in transformers."""
    model_type = (ARCHITECTURES | MORE)[architecture].model_type
    return tuple(task for task, table in TABLES.items() if model_type in getattr(modeling_auto, table))


def build(
    architecture: str,
    *,
    task: str = "text-classification",
    num_labels: int = 3,
    problem_type: str | None = None,
    labels: tuple[str, ...] = (),
    directory: Path | None = None,
    seed: int = 0,
    gain: float = 2.0,
    **config: Any,
) -> tuple[Any, Any]:
    """Make a tiny model and its tokenizer.

    Args:
        architecture: A name in ARCHITECTURES.
        task: A name in HEADS.
        num_labels: Number of labels; question answering has always 2, start and end.
        problem_type: As in ``config.json``.
        labels: Names of the labels in order, in place of LABEL_0 and so on.
        directory: Where to save both, as a checkpoint; None for nowhere.
        seed: Another seed gives other weights.
        gain: How much more than what keeps the variance the matrices have.
        **config: Goes before what the table says.

    Returns:
        The transformers model (fp32, eager attention, evaluation mode) and the transformers tokenizer.
    """
    entry = (ARCHITECTURES | MORE)[architecture]
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / entry.tokenizer, model_max_length=LIMIT)
    token_ids = {name: getattr(tokenizer, source) for name, source in _TOKEN_IDS.items()}
    if task == "question-answering":
        num_labels = 2
    names = labels or tuple(f"LABEL_{index}" for index in range(num_labels))
    wanted = (
        SIZES
        | {"vocab_size": len(tokenizer), "max_position_embeddings": LIMIT + entry.extra_positions}
        | token_ids
        | {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
        | {"problem_type": problem_type}
    )
    for name in entry.without:
        del wanted[name]
    settings = AutoConfig.for_model(entry.model_type, **wanted | dict(entry.config) | config)
    settings._attn_implementation = "eager"
    with torch.random.fork_rng():  # transformers' own initialization draws from torch's generator
        model = getattr(transformers, auto_class(HEADS[task], entry.model_type)).from_config(
            settings, dtype=torch.float32
        )
    draw_weights(model, seed, gain)
    model.eval()
    if architecture in ARCHITECTURES and task != "question-answering":
        center(model, tokenizer)
    if directory is not None:
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return model, tokenizer


def draw_weights(model: Any, seed: int, gain: float = 2.0) -> None:
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
            values = noise * (2.5 if name.startswith("classifier") else gain) / np.sqrt(fan_in)
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
