"""Tensor parity of an exported tiny model with PyTorch: lengths 1, 2, a prime, the limit, one more; three batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgepipe import Bundle, Model
from edgepipe.errors import InputError
from edgepipe_export import export
from edgepipe_export.checkpoint.architectures import find_architecture
from edgepipe_export.checkpoint.model_inputs import accepted_inputs
from tests.tiny import LIMIT, build
from tests.tiny.table import ARCHITECTURES, MORE

BATCHES = (1, 2, 5)
LENGTHS = (1, 2, 31, LIMIT)
ABSOLUTE, RELATIVE = 1e-4, 1e-3


@dataclass(frozen=True)
class Outcome:
    """What a comparison found.

    Attributes:
        compared: Number of batches.
        largest: Largest absolute difference of any tensor.
        failures: What went wrong, in words.
    """

    compared: int
    largest: float
    failures: tuple[str, ...]


def export_tiny(architecture: str, task: str, folder: Path, **options: Any) -> tuple[Any, Any, Bundle]:
    """Make a tiny model and export it; the model, its tokenizer and the bundle.

    The exporter's own verification is left out: what follows measures more.
    """
    # Gentle weights: what is to show is another formula, not what rounding grows to in a random network.
    model, tokenizer = build(architecture, task=task, gain=(ARCHITECTURES | MORE)[architecture].gain)
    bundle = export(model, folder / "bundle", task=task, tokenizer=tokenizer, verify=False, progress=False, **options)
    return model, tokenizer, bundle


def compare(model: Any, tokenizer: Any, bundle: Bundle) -> Outcome:
    """Compare every output of a bundle with the model's, for every batch size and length."""
    graph = Model(bundle)
    largest, failures, compared = 0.0, [], 0
    unlimited = bundle.max_length is None
    for length in (*lengths(model), *([LIMIT + 1] if unlimited else [])):
        for batch in BATCHES:
            feeds = feeds_for(model, tokenizer, batch, length)
            got = graph(**feeds)
            with torch.no_grad():
                result = model(**{name: torch.from_numpy(array) for name, array in feeds.items()}, return_dict=True)
            for name, tensor in got.items():
                expected = result[name].numpy()
                where = f"{name} of batch {batch}, length {length}"
                if tensor.shape != expected.shape:
                    failures.append(f"{where}: shape {tensor.shape} instead of {expected.shape}")
                    continue
                difference = float(np.abs(tensor - expected).max())
                largest = max(largest, difference)
                if not np.allclose(tensor, expected, atol=ABSOLUTE, rtol=RELATIVE):
                    failures.append(f"{where}: differs by {difference:.2g}")
            compared += 1
    if not unlimited:
        try:
            graph(**feeds_for(model, tokenizer, 1, LIMIT + 1))
        except InputError:
            pass
        else:
            failures.append("one token more than the limit was let through")
    return Outcome(compared, largest, tuple(failures))


def lengths(model: Any) -> tuple[int, ...]:
    """The lengths a model is tried at: all that transformers takes, and that hold as many separators as it wants."""
    entry = find_architecture(model)
    if type(model).__name__.endswith("ForQuestionAnswering") and entry.separators_of_questions:
        return (9, 10, 31, LIMIT)
    fewest = entry.fewest_tokens(model.config.to_dict())
    return tuple(sorted({max(length, fewest) for length in LENGTHS}))


def feeds_for(model: Any, tokenizer: Any, batch: int, length: int) -> dict[str, Any]:
    """Random ordinary tokens, int64[batch, length] arrays; every row but the first padded by its number of tokens."""
    vocabulary = min(len(tokenizer), model.config.vocab_size)
    special = set(tokenizer.all_special_ids)
    generator = np.random.default_rng([batch, length])
    ids = generator.choice([token for token in range(vocabulary) if token not in special], (batch, length))
    mask = np.ones_like(ids)
    for row in range(1, batch):
        kept = max(1, length - row)
        ids[row, kept:] = tokenizer.pad_token_id
        mask[row, kept:] = 0
    ends = mask.sum(axis=1) - 1
    rows = np.arange(batch)
    if getattr(model.config, "is_encoder_decoder", False):
        ids[rows, ends] = model.config.eos_token_id  # their classification head reads the last one
    if type(model).__name__ == "LongformerForQuestionAnswering":
        for separators in (1, 3, ends):
            ids[rows, separators] = model.config.sep_token_id
    feeds = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in tokenizer.model_input_names:
        feeds["token_type_ids"] = (np.arange(length) >= length // 2) * mask
    return {name: feeds[name] for name in accepted_inputs(model, feeds)}
