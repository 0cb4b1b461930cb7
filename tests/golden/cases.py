"""The inputs and options that the golden files are made with; a case is a call of a pipeline, as plain JSON data."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from tests.tiny import LIMIT


class Case(TypedDict):
    """One call.

    Keys:
        name: Names the case within its file.
        model: Name of an entry in the golden file's ``models``.
        inputs: What the pipeline is called with.
        generator: The list in `inputs` goes in as a generator.
        made_with: Options of the pipeline itself.
        options: Options of the call.
        result: What came back (of a generator, the list of it); in the golden files only.
    """

    name: str
    model: str
    inputs: Any
    generator: bool
    made_with: dict[str, Any]
    options: dict[str, Any]
    result: NotRequired[Any]


TEXTS = {
    "plain": "I love this film, its music and its ending.",
    "empty": "",
    "one character": "a",
    "blanks": " \t\n  ",
    "emoji": "👍🏽 great 👩‍👩‍👧‍👦 🇫🇷",
    "CJK": "这部电影很好看。とても面白い映画です。정말 재미있어요",
    "right to left": "שלום עולם، مرحبا بالعالم",
    "NUL": "be\x00fore \x00 after",
    "control characters": "a\x07b\u200bc\u202ed\ufeff",
    "combining": "Cafe\u0301 ｆｕｌｌ ﬁ Ⅷ ǅ İstanbul ẞ",  # noqa: RUF001
    "special tokens": "[CLS] <s> [MASK] <mask> </s> [SEP] <pad> [PAD]",
    "one long word": "antidisestablishmentarianism" * 2,
    "digits": "On 2024-02-29 at 12:30 it cost $1,234.56 (100%).",
}
LONG = "A very long text goes on and on. " * 40
PAIR = {"text": "Where is the station?", "text_pair": "Behind the old bridge, on the left."}
LONG_PAIR = {"text": "A first text that is long enough.", "text_pair": LONG}
MIXED = [*TEXTS.values(), PAIR, {"text": "alone"}, [["a", "b"]], {"text": "", "text_pair": ""}]

# Options that change how logits become scores.
FUNCTIONS: list[dict[str, Any]] = [
    {"function_to_apply": "softmax"},
    {"function_to_apply": "Softmax"},
    {"function_to_apply": "sigmoid"},
    {"function_to_apply": "SIGMOID"},
    {"function_to_apply": "none"},
    {"function_to_apply": "None"},
    {"function_to_apply": None},
]

# The models of a golden file, as arguments of tests.tiny.build; every architecture has the first.
MODELS: dict[str, dict[str, Any]] = {
    "single label": {"num_labels": 3},
    "single label, said": {"num_labels": 2, "problem_type": "single_label_classification", "labels": ["NO", "YES"]},
    "multi-label": {"num_labels": 4, "problem_type": "multi_label_classification"},
    "regression": {"num_labels": 1, "problem_type": "regression"},
    "regression of two": {"num_labels": 2, "problem_type": "regression"},
    "one label": {"num_labels": 1},
}


def _case(name: str, model: str, inputs: Any, made_with: dict[str, Any] | None = None, **options: Any) -> Case:
    generator = options.pop("generator", False)
    return Case(name=name, model=model, inputs=inputs, generator=generator, made_with=made_with or {}, options=options)


def cases(model: str, *, brief: bool = False) -> list[Case]:
    """The cases for one model.

    Args:
        model: Name in MODELS.
        brief: Only those in which models of one architecture can differ: how scores are made and ranked.
    """
    plain = TEXTS["plain"]
    found = [
        _case("a string", model, plain),
        _case("a list of one", model, [plain]),
        _case("a pair", model, PAIR),
        *(_case(f"top_k={top_k}", model, plain, top_k=top_k) for top_k in (None, 1, 2, 99)),
        *(_case(f"{function}, ranked", model, plain, top_k=None, **function) for function in FUNCTIONS),
        *(_case(f"{function}", model, [plain, PAIR], **function) for function in FUNCTIONS[::2]),
        _case("top_k when made", model, plain, {"top_k": 2}),
        _case("top_k when made, over a list", model, [plain, plain], {"top_k": None}),
        _case("top_k when made and at the call", model, plain, {"top_k": None}, top_k=1),
    ]
    if brief:
        return found
    found += [_case(f"text: {name}", model, text, top_k=None) for name, text in TEXTS.items()]
    found += [
        _case("a dict without a pair", model, {"text": plain}),
        _case("a dict with top_k=1", model, PAIR, top_k=1),
        _case("a pair as a nested list", model, [[["a", "b"]]], top_k=None),
        _case("long, truncation=True", model, LONG, truncation=True, top_k=None),
        _case("long, truncation when made", model, [LONG, plain], {"truncation": True}),
        _case("long, max_length=7", model, LONG, truncation=True, max_length=7),
        _case("long, truncated to the specials", model, LONG, truncation=True, max_length=2),
        _case("long pair, truncation=True", model, LONG_PAIR, truncation=True, top_k=None),
        _case("long pair, only_second", model, LONG_PAIR, truncation="only_second", top_k=None),
        _case("long pair, longest_first", model, LONG_PAIR, truncation="longest_first", max_length=20),
        _case("padded to max_length", model, plain, padding="max_length", max_length=LIMIT, truncation=True),
        _case("padding=True", model, [plain, ""], padding=True, top_k=None),
        _case("pad_to_multiple_of", model, plain, padding=True, pad_to_multiple_of=16, top_k=None),
        _case("without special tokens", model, plain, add_special_tokens=False, top_k=None),
        _case("generator of one", model, [plain], generator=True),
        _case("generator, ranked", model, [plain, PAIR, ""], generator=True, top_k=2),
    ]
    found += [
        _case(f"{'generator' if generator else 'list'}, batch_size={size}", model, MIXED, generator=generator,
              batch_size=size, top_k=None)
        for size in (1, 2, 8)
        for generator in (False, True)
    ]  # fmt: skip
    found += [_case("batch_size when made", model, MIXED, {"batch_size": 3})]
    return found
