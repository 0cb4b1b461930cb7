"""Write the golden directories of models that write, as optimum-onnx exported them, and what PyTorch writes.

    python -m tests.golden.make_foreign_writers [name ...]

Run it where the reference is: optimum-onnx 0.1.0, which brings transformers 4.57.6 (see ``make_foreign``). Each
directory of ``tests/data/foreign_writers`` is what ``ORTModelFor….save_pretrained`` left, byte for byte; the file
beside it has the answers of transformers' pipelines with the PyTorch model.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transformers

from tests.golden.foreign_files import write_directories
from tests.tiny.generative import build_generative

FOLDER = Path(__file__).parents[1] / "data" / "foreign_writers"
TEXTS = ["Hello there, my friend", "The 2nd of May", "a"]
_GREEDY = {"num_beams": 1, "do_sample": False, "max_new_tokens": 12}
CALLS = [
    {"inputs": TEXTS, "options": _GREEDY},
    {"inputs": TEXTS, "options": _GREEDY | {"num_beams": 3}},
    {"inputs": TEXTS[0], "options": _GREEDY | {"num_beams": 4, "num_return_sequences": 2, "length_penalty": 0.5}},
]
# Small enough to keep: the weights are mostly the vocabulary's embeddings, which each graph has twice.
_SMALL = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
_GPT = {"n_embd": 8, "n_layer": 1, "n_head": 2}
_T5 = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2}
_BART = {
    "d_model": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
}


@dataclass(frozen=True)
class ForeignWriter:
    """One directory.

    Attributes:
        task: The pipeline's task.
        family: A name in ``tests.tiny.generative``.
        ort_class: optimum-onnx's class for the task.
        build: More arguments of ``build_generative``.
        export: More arguments of the export.
    """

    task: str
    family: str
    ort_class: str = "ORTModelForSeq2SeqLM"
    build: dict[str, Any] = field(default_factory=dict)
    export: dict[str, Any] = field(default_factory=dict)


FOREIGN: dict[str, ForeignWriter] = {
    "decoder": ForeignWriter("text-generation", "gpt2", "ORTModelForCausalLM", _GPT),
    # One decoder with an If, which has a branch for the first step and one for the others.
    "merged": ForeignWriter("text2text-generation", "t5", build=_T5, export={"use_merged": True}),
    # A decoder for the first step and one for the others.
    "separate": ForeignWriter("summarization", "bart", build=_BART, export={"use_merged": False}),
}


def make(name: str, checkpoint: Path, directory: Path) -> dict[str, Any]:
    """Export one, and ask PyTorch."""
    import optimum.onnxruntime

    foreign = FOREIGN[name]
    build_generative(foreign.family, directory=checkpoint, **_SMALL | foreign.build)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    kind = getattr(optimum.onnxruntime, foreign.ort_class)
    kind.from_pretrained(checkpoint, export=True, **foreign.export).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    ask = transformers.pipeline(foreign.task, model=str(checkpoint), tokenizer=tokenizer, device="cpu")
    answers = [ask(call["inputs"], **call["options"]) for call in CALLS]
    return {"task": foreign.task, "calls": CALLS, "answers": answers}


if __name__ == "__main__":
    write_directories(FOLDER, "tests.golden.make_foreign_writers", sys.argv[1:] or FOREIGN, make)
