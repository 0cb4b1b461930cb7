"""Translations; transformers 4.57 is the reference, the last version that has the pipeline."""

from __future__ import annotations

from tests.golden.cases import Case
from tests.golden.suites import Suite, in_batches, make_case
from tests.golden.suites.generators import build_generator
from tests.golden.suites.text2text_generation import MIXED, PARAMS, PLAIN

LANGUAGES = {
    "mbart": [("en_XX", "fr_XX"), ("zh_CN", "de_DE")],
    "m2m_100": [("eng_Latn", "fra_Latn"), ("zho_Hans", "deu_Latn")],
}


def cases(architecture: str, model: str, brief: bool) -> list[Case]:
    """The calls for one model."""
    short = {"max_new_tokens": 8}
    if architecture not in LANGUAGES:
        return [
            make_case("a string", model, PLAIN, **short),
            make_case("languages that it does not ask for", model, PLAIN, src_lang="en", tgt_lang="fr", **short),
            *in_batches(model, MIXED, **short),
        ]
    found = []
    for source, target in LANGUAGES[architecture]:
        pair = {"src_lang": source, "tgt_lang": target}
        found += [
            make_case(f"{source} to {target}", model, PLAIN, **pair, **short),
            make_case(f"{source} to {target}, when made", model, MIXED, pair, **short),
            make_case(
                f"{source} to {target}, tensors", model, PLAIN, return_tensors=True, num_beams=1, **pair, **short
            ),
            make_case(f"{source} to {target}, truncated", model, PLAIN * 12, truncation=True, **pair, **short),
        ]
    return found + in_batches(model, MIXED, src_lang=source, tgt_lang=target, **short)


SUITE = Suite(
    task="translation",
    models={
        "t5": {"plain": {"tokenizer_name": "t5"}, "params of the task": {"tokenizer_name": "t5",
                                                                         "task_specific_params": PARAMS}},
        "mbart": {"plain": {"tokenizer_name": "mbart"}},
        "m2m_100": {"nllb": {"tokenizer_name": "nllb"}},
    },
    cases=cases,
    reference="4.57.6",
    ranked=False,
    build=build_generator,
)  # fmt: skip
