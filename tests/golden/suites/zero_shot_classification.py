"""Labels named at the call: lists and texts of them, templates, one or several that are true."""

from __future__ import annotations

from tests.golden.cases import LONG, TEXTS, Case
from tests.golden.suites import Suite, in_batches, make_case

LABELS = ["politics", "sports", "public health", "Économie 👍🏽", "政治"]
TEXT = "One day I will see the world, but not before the elections."
# Not empty: that is an error.
ALL_TEXTS = [text for text in TEXTS.values() if text]


def cases(architecture: str, model: str, brief: bool) -> list[Case]:
    """The calls for one model."""
    found = [
        make_case("a list of labels", model, TEXT, candidate_labels=LABELS),
        make_case("multi_label", model, TEXT, candidate_labels=LABELS, multi_label=True),
        make_case("one label", model, TEXT, candidate_labels=["sports"]),
        make_case("one label as text", model, TEXT, candidate_labels="sports"),
        make_case("a list of one", model, [TEXT], candidate_labels=LABELS),
    ]
    if brief:
        return found
    found += [
        make_case(f"labels={labels!r}", model, TEXT, candidate_labels=labels)
        for labels in ("a,b", " politics , public health ,,sports, ", ["a, b", "c"], [" blank "])
    ]
    found += [
        make_case(f"template={template!r}", model, TEXT, candidate_labels=LABELS, hypothesis_template=template)
        for template in ("{}", "Es geht um {}.", "{0} {{and}} {0}", "👍🏽 {:>20}")
    ]
    found += [
        make_case("every text", model, ALL_TEXTS, candidate_labels=LABELS),
        make_case("every text, multi_label", model, ALL_TEXTS, candidate_labels=LABELS[:2], multi_label=True),
        make_case("a long text", model, LONG, candidate_labels=LABELS),
        make_case("a long label", model, LONG, candidate_labels=["a b c d e f g h", "sports"]),
        make_case("labels when made", model, [TEXT, "b"], {"candidate_labels": "a, b", "multi_label": True}),
        make_case("made and called", model, TEXT, {"candidate_labels": "a, b"}, hypothesis_template="Is {}?"),
        *in_batches(model, [TEXT, *ALL_TEXTS, LONG], candidate_labels=LABELS[:3]),
    ]
    return found


SUITE = Suite(
    task="zero-shot-classification",
    models={
        "bert": {
            "entailment last": {"labels": ("contradiction", "neutral", "entailment")},
            "entailment first": {"labels": ("ENTAILMENT", "NEUTRAL", "CONTRADICTION")},
            "entailment second of two": {"labels": ("not entailed", "Entailed")},
        },
        "roberta": {"entailment last": {"labels": ("contradiction", "neutral", "entailment")}},
        "deberta-v2": {"entailment first": {"labels": ("entailment", "neutral", "contradiction")}},
    },
    cases=cases,
)
