"""Whatever the text and the options: the results of transformers, or an `InputError` where it raises.

The exceptions are those that `Tokenizer` documents: an empty batch, a `max_length` below the number of special tokens,
ragged rows as an array, and `pad` without a padding token where nothing is to be padded.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgepipe.errors import InputError
from edgepipe.tokenization.tokenizer import Tokenizer
from tests.runtime.tokenization.beside_the_reference import attempt, find_difference

pytest.importorskip("transformers")

FAMILIES = (
    "albert bert deberta-v2 distilbert electra gpt2 llama modernbert mpnet roberta xlm-roberta".split()  # noqa: SIM905
)
CORPUS = (Path(__file__).parents[2] / "data" / "corpus.txt").read_text(encoding="utf-8").split()
ODD = [
    *(
        "",
        " ",
        "  ",
        "\t",
        "\n",
        "\r\n",
        "\x00",
        "\x01\x7f",
        "\u200b",
        "\u200d",
        "\ufeff",
        "\u00a0",
        "\u3000",
        "\ufffd",
    ),
    *("[MASK]", " [MASK] ", "<mask>", " <mask>", "[CLS]", "[SEP]", "<s>", "</s>", "<pad>", "[UNK]", "<|endoftext|>"),
    *("|||IP_ADDRESS|||", "##ing", "▁", "Ġ", "<0x0A>", "a" * 120, " " * 40, "don't", "...", "``", "''", "İ", "ﬁ", "Ω"),
    *(
        "e\u0301",
        "\u0301",
        "n\u0308\u0323",
        "क्षि",
        "한국어",
        "한",
        "שָׁלוֹם",
        "مُحَمَّد",
        "\u202eabc",
        "👩\u200d👩\u200d👧",
        "🏳️\u200d🌈",
        "🇫🇷",
        "\U0001d4b3",
        "你好",
    ),
]


def parity(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


words = st.one_of(
    st.sampled_from(CORPUS),
    st.sampled_from(ODD),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
texts = st.builds("".join, st.lists(st.one_of(words, st.just(" ")), max_size=14))
split_texts = st.lists(words, max_size=8)

lengths = st.fixed_dictionaries(
    {},
    optional={
        "padding": st.sampled_from([False, True, "longest", "max_length", "do_not_pad"]),
        "truncation": st.sampled_from(
            [None, False, True, "longest_first", "only_first", "only_second", "do_not_truncate"]
        ),
        "max_length": st.integers(0, 24),
        "stride": st.integers(0, 4),
        "pad_to_multiple_of": st.integers(1, 8),
        "padding_side": st.sampled_from([None, "left", "right"]),
        "return_overflowing_tokens": st.booleans(),
    },
)
returned = st.fixed_dictionaries(
    {},
    optional={
        "add_special_tokens": st.booleans(),
        "return_tensors": st.sampled_from([None, "np"]),
        "return_token_type_ids": st.sampled_from([None, True, False]),
        "return_attention_mask": st.sampled_from([None, True, False]),
        "return_special_tokens_mask": st.booleans(),
        "return_offsets_mapping": st.booleans(),
        "return_length": st.booleans(),
    },
)
options = st.builds(lambda a, b: {**a, **b}, lengths, returned)


def check_call(pair_of: Callable[[str], tuple[Tokenizer, Any]], family: str, *args: Any, **kwargs: Any) -> None:
    ours, reference = pair_of(family)
    expected = attempt(reference, *args, **kwargs)
    assert find_difference(reference, expected, attempt(ours, *args, **kwargs), kwargs) is None


@parity(900)
@given(st.sampled_from(FAMILIES), texts, st.none() | texts, options)
@example("bert", "", None, {"return_tensors": "np"})
@example("gpt2", "", None, {"return_tensors": "np", "return_offsets_mapping": True})
@example("bert", "a b c d e f", "", {"truncation": "only_second", "max_length": 5})
@example("bert", "a b c d e f", "g h i j k l m", {"truncation": True, "max_length": 6, "stride": 2})
@example("bert", "a b c d", None, {"max_length": 2, "return_overflowing_tokens": True})
@example("bert", "a b c d", None, {"max_length": 0, "add_special_tokens": False, "return_overflowing_tokens": True})
@example("roberta", "a b c d", "e", {"max_length": 4, "truncation": "only_first"})
def test_single_texts(both: Any, family: str, text: str, pair: str | None, kwargs: dict[str, Any]) -> None:
    check_call(both, family, text, pair, **kwargs)


@parity(600)
@given(st.sampled_from(FAMILIES), st.lists(st.tuples(texts, texts), min_size=1, max_size=4), st.integers(0, 2), options)
def test_batches(both: Any, family: str, rows: list[tuple[str, str]], shape: int, kwargs: dict[str, Any]) -> None:
    first, second = [row[0] for row in rows], [row[1] for row in rows]
    args: tuple[Any, ...] = [(first,), (first, second), (rows,)][shape]
    check_call(both, family, *args, **kwargs)


@parity(600)
@given(
    st.sampled_from(FAMILIES),
    st.lists(st.tuples(split_texts, split_texts), min_size=1, max_size=3),
    st.integers(0, 4),
    options,
)
def test_split_words(
    both: Any, family: str, rows: list[tuple[list[str], list[str]]], shape: int, kwargs: dict[str, Any]
) -> None:
    first, second = [row[0] for row in rows], [row[1] for row in rows]
    args: tuple[Any, ...] = [(first[0],), (first[0], second[0]), (first,), (first, second), (rows,)][shape]
    check_call(both, family, *args, is_split_into_words=True, **kwargs)


@parity(300)
@given(st.sampled_from(FAMILIES), texts, texts, st.integers(8, 40), st.integers(0, 20), st.booleans())
def test_question_answering_windows(
    both: Any, family: str, question: str, context: str, max_length: int, stride: int, words: bool
) -> None:
    """Long contexts in overlapping pieces: where a stride that leaves no room makes the reference panic."""
    check_call(
        both,
        family,
        question.split() if words else question,
        (context * 4).split() if words else context * 4,
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        is_split_into_words=words,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )


@parity(400)
@given(st.sampled_from(FAMILIES), st.data(), st.booleans(), st.sampled_from([None, True, False]))
def test_decoding(both: Any, family: str, draw: st.DataObject, skip: bool, clean_up: bool | None) -> None:
    ours, reference = both(family)
    ids = draw.draw(st.lists(st.integers(0, len(ours) + 10), max_size=20))
    assert ours.convert_ids_to_tokens(ids, skip) == reference.convert_ids_to_tokens(ids, skip)
    expected = reference.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=clean_up)
    assert ours.decode(ids, skip, clean_up) == expected
    assert ours.decode(np.array(ids, dtype=np.int64), skip, clean_up) == expected
    batch = [ids, ids[:3], []]
    assert ours.batch_decode(batch, skip) == reference.batch_decode(batch, skip)
    assert ours.batch_decode([], skip) == []  # before 5.24 the reference took it for one sequence
    if ids:
        assert ours.batch_decode(ids, skip) == reference.batch_decode(ids, skip)
        assert ours.decode(ids[0], skip) == reference.decode(ids[0], skip)
        square = np.array([ids, ids])
        assert ours.batch_decode(square, skip) == reference.batch_decode(square, skip)


@parity(400)
@given(st.sampled_from(FAMILIES), texts)
def test_round_trip(both: Any, family: str, text: str) -> None:
    ours, reference = both(family)
    ids = ours(text)["input_ids"]
    tokens = ours.convert_ids_to_tokens(ids)
    assert tokens == reference.convert_ids_to_tokens(ids)
    assert ours.convert_tokens_to_ids(tokens) == reference.convert_tokens_to_ids(tokens)
    assert ours.convert_tokens_to_string(tokens) == reference.convert_tokens_to_string(tokens)
    for skip in (False, True):
        assert ours.decode(ids, skip) == reference.decode(ids, skip)


@parity(300)
@given(
    st.sampled_from(FAMILIES),
    st.lists(texts, min_size=1, max_size=4),
    st.booleans(),
    st.fixed_dictionaries(
        {},
        optional={
            "padding": st.sampled_from([True, False, "longest", "max_length", "do_not_pad"]),
            "max_length": st.integers(0, 24),
            "pad_to_multiple_of": st.integers(1, 8),
            "padding_side": st.sampled_from([None, "left", "right"]),
            "return_attention_mask": st.sampled_from([None, True, False]),
            "return_tensors": st.sampled_from([None, "np"]),
        },
    ),
    st.booleans(),
)
def test_pad(both: Any, family: str, batch: list[str], mask: bool, kwargs: dict[str, Any], columns: bool) -> None:
    ours, reference = both(family)
    rows = [dict(ours(text, return_special_tokens_mask=True, return_attention_mask=mask)) for text in batch]
    encoded: Any = {name: [row[name] for row in rows] for name in rows[0]} if columns else rows
    copy = {name: list(value) for name, value in encoded.items()} if columns else [dict(row) for row in rows]
    expected = attempt(reference.pad, copy, **kwargs)
    actual = attempt(ours.pad, encoded, **kwargs)
    if isinstance(expected, BaseException):
        # Without a padding token the reference always raises, we where a row is to be padded.
        unpadded = [row["input_ids"] for row in rows]
        if not isinstance(actual, InputError):
            assert ours.pad_token is None, repr(expected)
            assert np.asarray(actual["input_ids"]).tolist() == unpadded
        return
    if isinstance(actual, InputError):
        assert "which is no array" in str(actual)
        assert any(value.dtype == object for value in expected.values())
        return
    assert not isinstance(actual, BaseException), repr(actual)
    assert dict(actual).keys() == dict(expected).keys()
    for name, value in expected.items():
        if isinstance(value, np.ndarray):
            assert actual[name].dtype == np.int64
            np.testing.assert_array_equal(actual[name], value)
        else:
            assert actual[name] == value, name


@pytest.mark.parametrize("value", [np.ones(2, bool), 1, "no"], ids=["array", "number", "text"])
@pytest.mark.parametrize(
    "name",
    [
        "add_special_tokens", "is_split_into_words", "return_token_type_ids", "return_attention_mask",
        "return_overflowing_tokens", "return_special_tokens_mask", "return_offsets_mapping", "return_length",
    ],
)  # fmt: skip
def test_what_is_no_truth_value(bert: Tokenizer, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} must be True or False"):
        bert("a", **{name: value})


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_same_tokenizer_cuts_on_another_side(bert: Tokenizer, side: Literal["left", "right"]) -> None:
    text = "one two three four five"
    before = bert(text, truncation=True, max_length=5)["input_ids"]
    whole = bert(text)["input_ids"]
    kept = {"left": whole[-4:-1], "right": whole[1:4]}[side]
    assert bert.with_truncation_side(side)(text, truncation=True, max_length=5)["input_ids"][1:-1] == kept
    assert bert(text, truncation=True, max_length=5)["input_ids"] == before
    with pytest.raises(InputError, match="truncation_side"):
        bert.with_truncation_side("up")  # type: ignore[arg-type]
