"""What a tokenizer's call returns: values, and the way back to words and characters."""

import copy
import pickle
from typing import Any

import pytest

from edgepipe.errors import InputError
from edgepipe.tokenization.tokenizer import Tokenizer
from tests.runtime.tokenization.beside_the_reference import attempt


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


def test_positions(ours: Tokenizer, reference: Any) -> None:
    texts = ["The quick brown fox.", "naïve 你好 👍🏽"]
    mine, theirs = ours(texts, texts[::-1]), reference(texts, texts[::-1])
    for row in (0, 1):
        for index in range(len(mine["input_ids"][row])):
            for method in ("token_to_chars", "token_to_word", "token_to_sequence"):
                assert getattr(mine, method)(row, index) == getattr(theirs, method)(row, index)
            assert mine.token_to_word(index) == theirs.token_to_word(index)
        for index in range(5):
            for method in ("char_to_token", "char_to_word", "word_to_tokens", "word_to_chars"):
                for sequence in (0, 1):
                    expected = attempt(getattr(theirs, method), row, index, sequence)
                    actual = attempt(getattr(mine, method), row, index, sequence)
                    assert actual == expected or isinstance(expected, BaseException), method
    assert mine.input_ids == mine["input_ids"]
    with pytest.raises(AttributeError):
        _ = mine.nothing


def test_rows_and_positions(bert: Tokenizer) -> None:
    encoding = bert(["The quick, fox", "a"], ["b c", "d"], padding=True)
    assert encoding.tokens() == ["[CLS]", "the", "qu", "##ic", "##k", ",", "fo", "##x", "[SEP]", "b", "c", "[SEP]"]
    assert encoding.word_ids() == [None, 0, 1, 1, 1, 2, 3, 3, None, 0, 1, None]
    assert encoding.sequence_ids() == [None, 0, 0, 0, 0, 0, 0, 0, None, 1, 1, None]
    assert encoding.tokens(1) == ["[CLS]", "a", "[SEP]", "d", "[SEP]", *7 * ["[PAD]"]]
    assert encoding.sequence_ids(-1) == [None, 0, None, 1, *8 * [None]]


def test_an_index_alone_is_of_the_first_row(bert: Tokenizer) -> None:
    encoding = bert(["The quick, fox", "a"], ["b c", "d"], padding=True)
    assert encoding.char_to_token(4) == encoding.char_to_token(0, 4) == 2
    assert encoding.char_to_token(1, 0, 1) == 3
    assert encoding.char_to_token(3) is None
    assert (encoding.token_to_chars(2), encoding.token_to_chars(0)) == ((4, 6), None)
    assert (encoding.word_to_tokens(1), encoding.word_to_chars(0, 1)) == ((2, 5), (4, 9))
    assert (encoding.char_to_word(0, 5), encoding.token_to_word(6), encoding.token_to_sequence(9)) == (1, 3, 1)


def test_a_value_that_there_is_not_names_those_there_are(bert: Tokenizer) -> None:
    encoding = bert("a")
    with pytest.raises(AttributeError, match="has no 'length'; it has input_ids, token_type_ids, attention_mask"):
        _ = encoding.length
    assert encoding.attention_mask is encoding["attention_mask"]
    assert not hasattr(encoding, "labels")
