"""Hidden states: each kind of text, and truncation said both ways."""

from __future__ import annotations

from tests.golden.cases import LONG, TEXTS, Case
from tests.golden.suites import Suite, make_case


def cases(architecture: str, model: str, brief: bool) -> list[Case]:
    """The calls for one model, one text at a time: what transformers returns for padding depends on the batch."""
    text = "I love this"
    return [
        make_case("a string", model, text),
        make_case("a list", model, [text, "a film"]),
        make_case("a generator", model, [text, "a film"], generator=True),
        make_case("truncated", model, "a film " + LONG, tokenize_kwargs={"truncation": True, "max_length": 4}),
        make_case("truncated by the option", model, text + LONG, truncation=True),
        make_case("no special tokens", model, text, tokenize_kwargs={"add_special_tokens": False}),
        *(
            make_case(name, model, odd, tokenize_kwargs={"truncation": True, "max_length": 8})
            for name, odd in TEXTS.items()
        ),
    ]


SUITE = Suite(
    task="feature-extraction",
    models={architecture: {"feature-extraction": {}} for architecture in ("bert", "roberta")},
    cases=cases,
    ranked=False,
)
