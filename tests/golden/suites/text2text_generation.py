"""Texts for texts; transformers 4.57 is the reference, the last version that has the pipeline."""

from __future__ import annotations

from typing import Any

from tests.golden.cases import TEXTS, Case
from tests.golden.suites import Suite, in_batches, make_case
from tests.golden.suites.generators import build_generator

PLAIN = "Where is the old station?"
MIXED = [PLAIN, "Far", "Two roads lead to the river and the bridge", "You and I", "2024-02-29"]

# What the config says for tasks, as T5's does.
PARAMS = {
    "summarization": {"max_length": 14, "min_length": 4, "num_beams": 3, "length_penalty": 2.0, "early_stopping": True,
                      "no_repeat_ngram_size": 3, "prefix": "summarize: "},
    "translation_en_to_fr": {"max_length": 10, "num_beams": 2, "prefix": "translate English to French: "},
    "text2text-generation": {"num_beams": 2, "prefix": "say: "},
}  # fmt: skip
T5 = {"tokenizer_name": "t5"}
MODELS: dict[str, dict[str, dict[str, Any]]] = {
    "t5": {
        "plain": T5,
        "params of the task": T5 | {"task_specific_params": PARAMS},
        "its own length": T5 | {"generation": {"max_length": 12, "num_beams": 6, "max_new_tokens": None}},
        "its own new tokens": T5 | {"generation": {"max_new_tokens": 5, "num_beams": 2, "length_penalty": 0.5}},
    },
    "bart": {"plain": {}, "a prefix": {"prefix": "all: ", "generation": {"max_length": 12, "early_stopping": True}}},
}


def cases(architecture: str, model: str, brief: bool) -> list[Case]:
    """The calls for one model."""
    short = {"max_new_tokens": 8}
    found = [
        make_case("a string", model, PLAIN, **short),
        make_case("a list", model, MIXED, **short),
        make_case("greedy", model, MIXED, num_beams=1, **short),
    ]
    if brief or architecture == "t5":  # BART could come to the end of its positions, as nothing else ends it
        found += [
            make_case("max_length", model, PLAIN, max_length=12, eos_token_id=None),
            make_case("no options", model, PLAIN),
            make_case("no options, a list", model, MIXED[1:3]),
        ]
    if brief:
        return found
    found += [
        make_case(f"{options}", model, MIXED[:2], **(short | options))
        for options in (
            {"return_tensors": True},
            {"return_tensors": False},
            {"return_text": True},
            {"num_return_sequences": 3},
            {"num_return_sequences": 3, "return_tensors": True, "max_new_tokens": 16},
            {"clean_up_tokenization_spaces": True},
            {"truncation": True},
            {"truncation": "only_first"},
            {"stop_sequence": "e"},
            {"min_length": 6},
            {"min_new_tokens": 7},
            {"min_length": 7, "min_new_tokens": 2},
            {"num_beams": 1, "do_sample": False, "return_tensors": True},
            {"num_beams": 2, "early_stopping": True, "length_penalty": 2.0, "max_new_tokens": 20},
            {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
            {"eos_token_id": None, "max_new_tokens": 30},
        )
    ]
    found += [
        make_case("a list of one", model, [PLAIN], **short),
        make_case("options when made", model, PLAIN, {"num_beams": 2, "max_new_tokens": 5}),
        make_case(
            "options when made and at the call", model, PLAIN, {"num_beams": 2, "max_new_tokens": 5}, num_beams=1
        ),
        make_case("a long text, truncated", model, PLAIN * 12, truncation=True, **short),
    ]
    found += [make_case(f"text: {name}", model, text, **short) for name, text in TEXTS.items()]
    return found + in_batches(model, MIXED, **short)


SUITE = Suite(
    task="text2text-generation", models=MODELS, cases=cases, reference="4.57.6", ranked=False, build=build_generator
)
