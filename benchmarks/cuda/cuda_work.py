"""What is measured on a GPU, how a contender is run, and checkpoints with random weights for it.

A contender is a program: ``PROGRAM FOLDER WORK OPTIONS``, the latter two as JSON. Once it says ``"ready"`` it answers
each ``{"count": 20}`` with the seconds that each of so many runs took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BART_BASE = (("layers", 6), ("attention_heads", 12), ("ffn_dim", 3072))
_BART_TINY = (("layers", 2), ("attention_heads", 2), ("ffn_dim", 64))

TEXT = "This film is a quiet triumph, and I loved it."  # 14 tokens


@dataclass(frozen=True)
class Work:
    """What one run is.

    Attributes:
        name: What the table calls it.
        model: Of what checkpoint.
        kind: ``"encoder"``: `rows` x `tokens` ids to logits, both in the host's memory; ``"text"``: TEXT to its label;
            ``"decoder"``: a prompt of `tokens` to `new` more of them.
        rows: Of a batch.
        tokens: Of each row.
        new: Tokens that are written.
    """

    name: str
    model: str
    kind: str
    rows: int = 1
    tokens: int = 128
    new: int = 0


WORKS = (
    Work("BERT-base 1 x 128", "bert-base", "encoder", 1, 128),
    Work("BERT-base 32 x 128", "bert-base", "encoder", 32, 128),
    Work("DistilBERT, text to label", "distilbert-base", "text"),
    Work("GPT-2, 32 + 64 greedy", "gpt2", "decoder", 1, 32, 64),
    Work("GPT-2, prompt of 512", "gpt2", "decoder", 1, 512, 1),
    Work("BART-base, 64 -> 48 greedy", "bart-base", "decoder", 1, 64, 48),
)


# Config, class, sizes that are not its defaults, and those of a tiny one.
CHECKPOINTS: dict[str, tuple[str, str, dict[str, int], dict[str, int]]] = {
    "bert-base": (
        "BertConfig",
        "BertForSequenceClassification",
        {},
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    ),
    "distilbert-base": (
        "DistilBertConfig",
        "DistilBertForSequenceClassification",
        {},
        {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2},
    ),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", {}, {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 1500}),
    "bart-base": (
        "BartConfig",
        "BartForConditionalGeneration",
        {"d_model": 768, "vocab_size": 50265}
        | {f"{side}_{what}": size for side in ("encoder", "decoder") for what, size in _BART_BASE},
        {"d_model": 32, "vocab_size": 1500}
        | {f"{side}_{what}": size for side in ("encoder", "decoder") for what, size in _BART_TINY},
    ),
}


def parse_arguments() -> tuple[str, Work, dict[str, Any]]:
    """The folder, the work and the options that a contender was started with."""
    folder, work, options = sys.argv[1:]
    return folder, Work(**json.loads(work)), json.loads(options)


def serve(run: Callable[[], object]) -> None:
    """Answer each line of standard input, until it ends."""
    run()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(json.loads(line)["count"]):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        print(json.dumps({"seconds": seconds}), flush=True)


def ids(work: Work, vocabulary: int) -> list[list[int]]:
    """The same tokens for every contender, none of them special."""
    first = 300 if vocabulary > 1000 else 30
    return [
        [first + (7 * row + 11 * column) % (vocabulary - first - 2) for column in range(work.tokens)]
        for row in range(work.rows)
    ]


def make(name: str, folder: Path, *, tiny: bool) -> None:
    """Write FOLDER/checkpoint and FOLDER/bundle (fp32 and fp16); speed does not depend on the values of weights."""
    import torch
    import transformers
    from benchmarks.checkpoints import tokenizer
    from benchmarks.generation.generation_checkpoints import write_tokenizer

    from edgepipe_export import export

    torch.manual_seed(0)
    config, kind, real, small = CHECKPOINTS[name]
    model_config = getattr(transformers, config)(**(small if tiny else real))
    model = getattr(transformers, kind)(model_config).eval()
    checkpoint = folder / "checkpoint"
    if name in ("gpt2", "bart-base"):
        model.generation_config.eos_token_id = model.generation_config.forced_eos_token_id = None
        model.save_pretrained(checkpoint)
        write_tokenizer(checkpoint, model.config.vocab_size, is_bart=name == "bart-base")
    else:
        model.save_pretrained(checkpoint)
        tokenizer(model.config.model_type).save_pretrained(checkpoint)
    export(str(checkpoint), folder / "bundle", dtypes=("fp32", "fp16"), verify=False)


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]), tiny=sys.argv[3:] == ["tiny"])
