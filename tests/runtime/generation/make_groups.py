"""Freeze what diverse beam search gave while transformers still had it: version 4.50 is the last that runs it itself.

Run with that version: ``python -m tests.runtime.generation.make_groups``.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.runtime.generation.models import MODELS, VOCABULARY, batch, model

GOLDEN = Path(__file__).with_name("groups.json")
COUNT = 24


def case(rank: int) -> dict[str, Any]:
    """Options, inputs and what came of them."""
    draw = random.Random(rank)
    groups = draw.choice([2, 3])
    width = groups * draw.choice([1, 2])
    options: dict[str, Any] = {
        "num_beams": width,
        "num_beam_groups": groups,
        "diversity_penalty": draw.choice([0.3, 1.5, 4.0]),
        "num_return_sequences": draw.randint(1, width),
        "max_new_tokens": draw.choice([2, 4, 9]),
        "early_stopping": draw.choice([True, False, "never"]),
        "length_penalty": draw.choice([0.0, 1.0, 2.0, -0.5]),
        "eos_token_id": draw.sample(range(VOCABULARY), draw.choice([1, 2, 5])),
        "pad_token_id": 0,
    }
    if draw.random() < 0.5:
        options |= {"no_repeat_ngram_size": 2, "min_new_tokens": 2}
    architecture = list(MODELS)[rank % len(MODELS)]
    lengths = ((5,), (4, 4))[rank // len(MODELS) % 2]
    ids, mask = batch(architecture, lengths, seed=rank)
    output = model(architecture).generate(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy(mask),
        output_scores=True,
        return_dict_in_generate=True,
        **options,
    )
    start = 0 if model(architecture).config.is_encoder_decoder else ids.shape[1]
    return {
        "architecture": architecture,
        "lengths": lengths,
        "seed": rank,
        "options": options,
        "sequences": output.sequences[:, start:].tolist(),
        "scores": [round(score, 5) for score in output.sequences_scores.tolist()],
    }


def main() -> None:
    """Write the file."""
    cases = [case(rank) for rank in range(COUNT)]
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    lines = ",\n".join(json.dumps(each) for each in cases)
    GOLDEN.write_text(f'{{"versions": {json.dumps(versions)}, "cases": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
