"""Summaries; transformers 4.57 is the reference, the last version that has the pipeline."""

from __future__ import annotations

from tests.golden.cases import Case
from tests.golden.suites import Suite, in_batches, make_case
from tests.golden.suites.generators import build_generator
from tests.golden.suites.text2text_generation import MIXED, MODELS, PLAIN


def cases(architecture: str, model: str, brief: bool) -> list[Case]:
    """The calls for one model; those for text-to-text generation show the rest."""
    short = {"max_new_tokens": 8}
    return [
        make_case("a string", model, PLAIN, **short),
        make_case("min_length and max_length", model, PLAIN, min_length=5, max_length=9, max_new_tokens=None),
        make_case("tensors", model, MIXED, return_tensors=True, **short),
        *([make_case("no options", model, MIXED[:2])] if brief or architecture == "t5" else []),
        *(in_batches(model, MIXED, **short) if architecture == "bart" and not brief else []),
    ]


SUITE = Suite(task="summarization", models=MODELS, cases=cases, reference="4.57.6", ranked=False, build=build_generator)
