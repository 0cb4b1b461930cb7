"""Answers from contexts; transformers 4.57 is the reference, the last version that has the pipeline."""

from __future__ import annotations

from tests.golden.cases import LONG, TEXTS, Case
from tests.golden.suites import Suite, in_batches, make_case

QUESTION = "Where does she live?"
CONTEXT = "My name is Sarah, I was born in Łódź and I live in São Paulo 🇧🇷, near the O'Neill-Smith Building."
# Far longer than the models.
STORY = (
    "Sarah wrote to the 東京 office twice. Nobody answered; the letters (all 1,234 of them) were lost in שלום street. "
    "Then, in May 2024, she moved to an old house by the river 👍🏽 and never wrote again. "
) * 6
# Texts that hold something to answer with.
ODD = {name: text for name, text in TEXTS.items() if name not in ("empty", "blanks", "one character")}
ODD["control characters"] += " and more"  # alone it is a single span
# Contexts with so many tokens that there are more spans than any case asks for: the reference fills up with leftovers.
WORDY = [text for name, text in ODD.items() if name in ("plain", "CJK", "combining", "digits", "special tokens")]


def cases(architecture: str, model: str, brief: bool) -> list[Case]:
    """The calls for one model."""
    one = {"question": QUESTION, "context": CONTEXT}
    story = {"question": QUESTION, "context": STORY}
    many = [one, story, *({"question": "What is it?", "context": text} for text in WORDY)]
    found = [
        make_case("a dict", model, one),
        make_case("a list of one", model, [one]),
        make_case("question and context", model, None, question=QUESTION, context=CONTEXT),
        make_case("lists", model, None, question=[QUESTION, "What?"], context=[CONTEXT, STORY]),
        make_case("lists of one", model, None, question=[QUESTION], context=[CONTEXT], top_k=2),
        make_case("one context", model, None, question=[QUESTION, "Who?", "When?"], context=STORY),
        make_case("top_k when made", model, one, {"top_k": 3}),
        make_case("no answer allowed when made", model, story, {"handle_impossible_answer": True, "top_k": 4}),
    ]
    found += [make_case(f"top_k={top_k}", model, each, top_k=top_k) for top_k in (2, 7) for each in (one, story)]
    found += [
        make_case(f"{options}", model, story, top_k=4, **options)
        for options in (
            {"doc_stride": 0},
            {"doc_stride": 1},
            {"doc_stride": 40},
            {"max_seq_len": 24, "doc_stride": 4},
            {"max_seq_len": 33},
            {"max_seq_len": 64},
            {"max_question_len": 3},
            {"max_answer_len": 1},
            {"max_answer_len": 4},
            {"max_answer_len": 60},
            {"handle_impossible_answer": True},
            {"align_to_words": False},
            {"align_to_words": False, "handle_impossible_answer": True, "max_answer_len": 3},
        )
    ]
    found += [
        make_case(f"{options}", model, each, **options)
        for options in (
            {"padding": True, "top_k": 3},
            {"padding": "max_length", "max_seq_len": 60, "top_k": 5},
            {"padding": "max_length", "max_seq_len": 48, "align_to_words": False, "top_k": 9},
            {"padding": "do_not_pad", "handle_impossible_answer": True, "top_k": 2},
            {"topk": 2},
        )
        for each in (one, story)
    ]
    found += [
        make_case(f"context: {name}, {'words' if align else 'tokens'}", model,
                  {"question": QUESTION, "context": text}, top_k=2, align_to_words=align)
        for name, text in ODD.items()
        for align in (True, False)
    ]  # fmt: skip
    found += [
        make_case(f"question: {name}", model, {"question": text[:20], "context": "She lives here."})
        for name, text in ODD.items()
    ]
    found += [make_case("a long context without end", model, {"question": "?", "context": LONG})]
    return found + in_batches(model, many) + in_batches(model, many, top_k=3, handle_impossible_answer=True)


SUITE = Suite(
    task="question-answering",
    models={
        architecture: {"question-answering": {"num_labels": 2}}
        for architecture in ("bert", "roberta", "deberta-v2", "albert")
    },
    cases=cases,
    reference="4.57.6",
)
