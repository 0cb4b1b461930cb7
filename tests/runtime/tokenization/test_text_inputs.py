"""What a call refuses, and in what words; what it accepts that looks odd."""

import copy
import pickle
from pathlib import Path
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


def test_stride_of_pairs(bert: Tokenizer, capfd: pytest.CaptureFixture[str]) -> None:
    """Where the reference lets the Rust code panic."""
    for options in (
        {"truncation": "only_second", "max_length": 12, "stride": 5},
        {"truncation": True, "max_length": 7, "stride": 2},
        {"truncation": True, "max_length": 1, "stride": 1, "add_special_tokens": False},
    ):
        with pytest.raises(InputError, match="stride="):
            bert("a b c d", "the quick brown fox jumps over the lazy dog", **options)
    assert "panicked" not in capfd.readouterr().err


def test_text_to_cut_is_too_short(bert: Tokenizer) -> None:
    with pytest.raises(InputError, match="longest_first"):
        bert("a", "the quick brown fox jumps over", truncation="only_first", max_length=6)


def test_no_padding_token(gpt2: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"from_pretrained\(path, pad_token="):
        gpt2(["a", "a b c"], padding=True)
    with pytest.raises(InputError, match="no padding token"):
        gpt2.pad([{"input_ids": [1]}, {"input_ids": [1, 2]}])
    assert gpt2.pad([{"input_ids": [1]}], return_tensors="np")["attention_mask"].tolist() == [[1]]


def test_useless_max_length_warns(bert: Tokenizer) -> None:
    with pytest.warns(UserWarning, match="max_length has no effect"):
        bert("a", padding=True, max_length=3)


def test_no_limit(data: Path) -> None:
    llama = Tokenizer.from_pretrained(data / "llama")
    assert llama.model_max_length is None
    full = llama("a b c " * 50)
    assert llama("a b c " * 50, truncation=True) == full
    assert llama("a b c " * 50, padding="do_not_pad", truncation="only_first") == full


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


@pytest.mark.parametrize("ids", [None, "1 2", b"1", [1.5], [-1], ["1"], [None], [2**40], -3, True, [[["a"]]]])
def test_not_ids(bert: Tokenizer, ids: Any) -> None:
    with pytest.raises(InputError):
        bert.decode(ids)
    with pytest.raises(InputError):
        bert.batch_decode(ids)
    with pytest.raises(InputError):
        bert.convert_ids_to_tokens(ids)


def test_ids(bert: Tokenizer) -> None:
    assert bert.convert_ids_to_tokens(np.int64(2)) == "[CLS]"
    assert bert.decode(np.int32(2)) == "[CLS]"
    assert bert.decode({"input_ids": [2, 3]}) == "[CLS] [SEP]"
    assert bert.batch_decode([]) == [""]
    assert bert.convert_ids_to_tokens([2, 10**6]) == ["[CLS]", None]


@pytest.mark.parametrize("tokens", [None, 3, b"a", ["a", 3], {"a"}])
def test_not_tokens(bert: Tokenizer, tokens: Any) -> None:
    with pytest.raises(InputError):
        bert.convert_tokens_to_ids(tokens)
    with pytest.raises(InputError):
        bert.convert_tokens_to_string(tokens)
    assert bert.convert_tokens_to_ids("\ud800") == bert.unk_token_id
    with pytest.raises(InputError):
        bert.convert_tokens_to_string(["\ud800"])


@pytest.mark.parametrize(
    "encoded",
    [
        None,
        [],
        5,
        "text",
        {},
        {"attention_mask": [1]},
        [{"input_ids": [1]}, {"ids": [2]}],
        [{"input_ids": [1]}, 5],
        {"input_ids": 5},
        {"input_ids": [[1], 2]},
        {"input_ids": [[1], [2]], "attention_mask": [[1]]},
        {"input_ids": [[1], [2]], "attention_mask": [1, 1]},
    ],
)
def test_not_encodings(bert: Tokenizer, encoded: Any) -> None:
    with pytest.raises(InputError):
        bert.pad(encoded)


@pytest.mark.parametrize(
    "options", [{"padding": "x"}, {"padding_side": "x"}, {"return_tensors": "pt"}, {"max_length": -1}]
)
def test_options_of_pad(bert: Tokenizer, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        bert.pad({"input_ids": [1, 2]}, **options)
    with pytest.raises(InputError):
        bert.pad({"input_ids": [["a"]]}, return_tensors="np")


def test_pad_leaves_its_input_alone(bert: Tokenizer) -> None:
    rows = [bert("a"), bert("a b c d")]
    before = copy.deepcopy([dict(row) for row in rows])
    bert.pad(rows, return_tensors="np")
    assert [dict(row) for row in rows] == before
    arrays = bert.pad({"input_ids": np.array([[1, 2]])})
    assert isinstance(arrays["input_ids"], np.ndarray)


def test_encoding_without_text(bert: Tokenizer) -> None:
    with pytest.raises(InputError, match="not made from text"):
        bert.pad([{"input_ids": [1]}]).word_ids()
    with pytest.raises(InputError, match="row 3"):
        bert("a").tokens(3)


def test_encoding_can_be_copied(bert: Tokenizer) -> None:
    encoding = bert(["a b", "c"], padding=True)
    for other in (copy.copy(encoding), copy.deepcopy(encoding), pickle.loads(pickle.dumps(encoding))):  # noqa: S301
        assert other == encoding
        assert other.word_ids(1) == encoding.word_ids(1)


def test_repr(bert: Tokenizer) -> None:
    assert repr(bert) == "Tokenizer(vocabulary of 900, model_max_length=512)"
