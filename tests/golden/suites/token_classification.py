"""Named entities: label schemes, strategies, long texts in pieces, lists of words."""

from __future__ import annotations

from tests.golden.cases import LONG, TEXTS, Case
from tests.golden.suites import Suite, in_batches, make_case

BIO = {"labels": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")}
# Names without a scheme, one with a hyphen of its own, one that only looks like a prefix.
PLAIN = {"labels": ("NOUN", "VERB-PAST", "B", "O")}

AGGREGATED = ("simple", "first", "average", "max")
# What keeps the files of many answers small.
IGNORED = ["O", "PER", "NOUN"]
ALL_TEXTS = list(TEXTS.values())
MIXED_LONG = "Café Ünter 👍🏽 in 東京, said O'Neill-Smith (שלום) twice. " * 5
WORDS = [
    ["George", "Washington", "went", "to", "Washington", "."],
    ["one"],
    ["an", "", "empty", "word"],
    ["two words", " blank before", "and\tafter "],
    ["👩‍👩‍👧‍👦", "東京都", "e\u0301tude", "שלום", "\x00", "[MASK]"],
    ["antidisestablishmentarianism", "re-enter", "don't", "3.14"],
]
LONG_WORDS = [word for words in WORDS for word in words] * 3


def cases(architecture: str, model: str, brief: bool) -> list[Case]:
    """The calls for one model."""
    found = [
        make_case(f"every text, {strategy}", model, ALL_TEXTS, aggregation_strategy=strategy)
        for strategy in ("none", *AGGREGATED)
    ]
    found += [
        make_case("a string", model, TEXTS["plain"]),
        make_case("nothing ignored", model, TEXTS["plain"], ignore_labels=[]),
        make_case("nothing ignored, simple", model, TEXTS["emoji"], ignore_labels=[], aggregation_strategy="simple"),
        make_case("labels of tokens ignored", model, TEXTS["plain"], ignore_labels=["O", "B-PER", "NOUN"]),
        make_case("groups ignored", model, TEXTS["plain"], ignore_labels=["PER", "PAST"], aggregation_strategy="max"),
        make_case("every label ignored", model, TEXTS["plain"], ignore_labels=[*BIO["labels"], *PLAIN["labels"]]),
    ]
    if brief:
        return found
    found += [
        make_case("a list of one", model, [TEXTS["plain"]]),
        make_case("strategy in capitals", model, TEXTS["plain"], aggregation_strategy="FIRST"),
        make_case("strategy when made", model, ALL_TEXTS[:3], {"aggregation_strategy": "simple"}),
        make_case("made and called", model, TEXTS["CJK"], {"aggregation_strategy": "simple"}, ignore_labels=[]),
        make_case("long, cut at the limit", model, [LONG, MIXED_LONG]),
        make_case("stride without a strategy", model, MIXED_LONG, stride=4),
        make_case("stride when made", model, MIXED_LONG, {"stride": 8, "aggregation_strategy": "average"}),
        make_case("stride, nothing ignored", model, MIXED_LONG, stride=9, aggregation_strategy="max", ignore_labels=[]),
    ]
    found += [
        make_case(f"stride={stride}, {strategy}", model, MIXED_LONG, stride=stride, aggregation_strategy=strategy)
        for stride in (0, 1, 16, 61)
        for strategy in AGGREGATED
    ]
    found += in_batches(
        model, [TEXTS["empty"], TEXTS["plain"], MIXED_LONG, TEXTS["NUL"], TEXTS["emoji"], TEXTS["blanks"]]
    )
    found += in_batches(
        model, [LONG, *ALL_TEXTS, MIXED_LONG], aggregation_strategy="average", stride=10, ignore_labels=IGNORED
    )
    found += [
        make_case("one list of words", model, WORDS[0], is_split_into_words=True),
        make_case("one word", model, ["Washington"], is_split_into_words=True, aggregation_strategy="simple"),
        make_case("words, the delimiter None", model, WORDS, is_split_into_words=True, delimiter=None),
        make_case("words, in batches", model, WORDS, is_split_into_words=True, batch_size=4),
        make_case("many words, cut at the limit", model, [LONG_WORDS], is_split_into_words=True),
    ]
    found += [
        make_case(f"words joined by {delimiter!r}, {strategy}", model, WORDS, is_split_into_words=True,
                  delimiter=delimiter, aggregation_strategy=strategy)
        for delimiter, strategy in ((" ", "simple"), ("", "first"), ("-", "max"), (" | ", "average"), ("👍", "none"))
    ]  # fmt: skip
    found += [
        make_case(f"many words, stride={stride}", model, [LONG_WORDS], is_split_into_words=True, stride=stride,
                  aggregation_strategy="first", delimiter=delimiter)
        for stride, delimiter in ((0, " "), (7, ""), (40, "__"))
    ]  # fmt: skip
    return found


SUITE = Suite(
    task="token-classification",
    models={
        "bert": {"B- and I-": BIO, "plain labels": PLAIN},
        "roberta": {"B- and I-": BIO, "plain labels": PLAIN},
        "albert": {"plain labels": PLAIN},
        "modernbert": {"B- and I-": BIO},
    },
    cases=cases,
    ranked=False,
)
