"""What a call refuses, and in what words; what it accepts that looks odd."""

from typing import Any

import numpy as np
import pytest

from edgepipe.errors import InputError
from edgepipe.tokenization.tokenizer import Tokenizer


@pytest.mark.parametrize(
    "args",
    [
        (),
        (None,),
        (5,),
        (b"bytes",),
        ({"text": "a"},),
        (1.5,),
        (np.array(["a"]),),
        (["a", None],),
        (["a", 3],),
        (["a", b"b"],),
        ([["a", "b", "c"]],),
        ([[]],),
        ([["a"]],),
        ([[["a"], ["b"]]],),
        ("a", 5),
        ("a", ["b"]),
        (["a"], "b"),
        (["a", "b"], ["c"]),
        ([("a", "b")], ["c"]),
        (iter(["a"]),),
    ],
)
def test_not_text(bert: Tokenizer, args: tuple[Any, ...]) -> None:
    with pytest.raises(InputError):
        bert(*args)


@pytest.mark.parametrize(
    "args",
    [
        ("one text",),
        (["a", 5],),
        ([["a", 5]],),
        ([["a"], "b"],),
        (["a"], "b"),
        ([["a"]], [["b"], ["c"]]),
        ([[["a"], 5]],),
    ],
)
def test_not_words(bert: Tokenizer, args: tuple[Any, ...]) -> None:
    with pytest.raises(InputError):
        bert(*args, is_split_into_words=True)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("ab\ud800", "the text holds a lone surrogate (U+D800) at character 2"),
        (["fine", "\udfff"], "text 1 of the batch holds a lone surrogate (U+DFFF) at character 0"),
        ([("a", "b"), ("c", "d\udc00")], "text 1 of the batch holds a lone surrogate (U+DC00) at character 1"),
    ],
)
def test_lone_surrogates(bert: Tokenizer, text: Any, where: str) -> None:
    for options in ({}, {"truncation": True}, {"padding": True, "return_tensors": "np"}):
        with pytest.raises(InputError) as caught:
            bert(text, **options)
        assert where in str(caught.value)
    words = [text] if isinstance(text, str) else None
    if words:
        with pytest.raises(InputError, match="lone surrogate"):
            bert(words, is_split_into_words=True)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"padding": "longes"}, "'longest'"),
        ({"padding": None}, "'max_length'"),
        ({"padding": 1}, "True, False"),
        ({"truncation": "first"}, "'only_first'"),
        ({"truncation": 1}, "'longest_first'"),
        ({"truncation": ""}, "'longest_first'"),
        ({"max_length": -1}, "max_length is -1"),
        ({"max_length": "9"}, "max_length is '9'"),
        ({"max_length": 9.0}, "max_length is 9.0"),
        ({"max_length": True}, "max_length is True"),
        ({"max_length": 10**30}, "max_length"),
        ({"stride": -1, "max_length": 9}, "stride is -1"),
        ({"stride": None}, "stride is None"),
        ({"stride": 8, "max_length": 9}, "stride=8 is too large"),
        ({"stride": 7, "max_length": 9}, "stride=7 is too large"),
        ({"max_length": 1}, "the special tokens alone take 2"),
        ({"pad_to_multiple_of": 0, "padding": True}, "pad_to_multiple_of is 0"),
        ({"pad_to_multiple_of": 8, "padding": True, "truncation": True, "max_length": 12}, "not a multiple"),
        ({"padding_side": "top"}, "'left'"),
        ({"return_tensors": "pt"}, "'np'"),
        ({"return_tensors": "tf"}, "'np'"),
        ({"truncation": "only_second", "max_length": 4}, "only_second"),
        ({"return_tensors": "np", "max_length": 4, "return_overflowing_tokens": True}, "which is no array"),
    ],
)
def test_options(bert: Tokenizer, options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError) as caught:
        bert("the quick brown fox jumps over the lazy dog and on", **options)
    assert named in str(caught.value)


def test_empty_batches(bert: Tokenizer) -> None:
    assert bert([]) == {"input_ids": [], "token_type_ids": [], "attention_mask": []}
    arrays = bert([], padding=True, truncation=True, return_tensors="np")
    assert {name: (value.dtype, value.size) for name, value in arrays.items()} == dict.fromkeys(
        ["input_ids", "token_type_ids", "attention_mask"], (np.int64, 0)
    )
    assert bert([], [])["input_ids"] == []
    assert bert([], return_overflowing_tokens=True)["overflow_to_sample_mapping"] == []
    assert len(bert([], is_split_into_words=True)["input_ids"]) == 2


def test_text_subclasses(bert: Tokenizer) -> None:
    class Name(str):
        pass

    assert bert(Name("hello")) == bert(np.str_("hello")) == bert("hello")
    assert bert(("a", "b")) == bert(["a", "b"])
    assert bert("hello", max_length=np.int64(3)) == bert("hello", max_length=3)


def test_repr(bert: Tokenizer) -> None:
    assert repr(bert) == "Tokenizer(vocabulary of 900, model_max_length=512)"
