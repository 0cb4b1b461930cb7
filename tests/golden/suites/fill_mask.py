"""Masked tokens: one mask and several, in every kind of text, among all words or a few."""

from __future__ import annotations

from tests.golden.cases import LONG, TEXTS, Case
from tests.golden.suites import Suite, in_batches, make_case

MASKS = {"bert": "[MASK]", "albert": "[MASK]", "modernbert": "[MASK]", "roberta": "<mask>"}
# The text that spells out the masks of all tokenizers would have two.
ODD = {name: text for name, text in TEXTS.items() if name != "special tokens"}


def cases(architecture: str, model: str, brief: bool) -> list[Case]:
    """The calls for one model."""
    mask = MASKS[architecture]
    plain = f"I love this {mask}, its music and its ending."
    several = f"{mask} love {mask}{mask} film."
    found = [
        make_case("a string", model, plain),
        make_case("a list of one", model, [plain]),
        make_case("the mask alone", model, mask),
        make_case("several masks", model, several),
        make_case("several masks in a list of one", model, [several]),
        make_case("every special token", model, TEXTS["special tokens"] + " </s> " + mask),
        make_case("long, truncated", model, plain + LONG, tokenizer_kwargs={"truncation": True}),
        make_case("max_length", model, several, tokenizer_kwargs={"truncation": True, "max_length": 5}),
        make_case("without special tokens", model, plain, tokenizer_kwargs={"add_special_tokens": False}),
        make_case("padded", model, plain, tokenizer_kwargs={"padding": "max_length", "max_length": 40}),
    ]
    found += [make_case(f"top_k={top_k}", model, several, top_k=top_k) for top_k in (1, 2, 30)]
    found += [
        make_case(f"{mask} in: {name}", model, text)
        for name, odd in ODD.items()
        for text in (f"{odd} {mask}", f"{mask}{odd}")
    ]
    found += [
        make_case(f"targets={targets}", model, several, targets=targets)
        for targets in ("the", ["the", "a", "of"], ["the", "the"], ["antidisestablishment", "the"], ["", "a"], ["👍🏽"])
    ]
    found += [
        make_case("targets and top_k", model, plain, targets=["the", "a", "of", "music"], top_k=2),
        make_case("top_k when made", model, plain, {"top_k": 2}),
        make_case("targets when made", model, [plain, several], {"targets": ["the", "a", "music"]}),
        make_case("made and called", model, plain, {"top_k": 2, "targets": ["a"]}, targets=["the", "music", "film"]),
    ]
    found += in_batches(model, [plain, several, *(f"{mask} {odd}" for odd in ODD.values())], top_k=3,
                        tokenizer_kwargs={"truncation": True})  # fmt: skip
    return found


SUITE = Suite(
    task="fill-mask",
    models={architecture: {"fill-mask": {}} for architecture in MASKS},
    cases=cases,
)
