"""The table of padding and truncation, and padding of what is already encoded."""

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe.errors import InputError
from edgepipe.tokenization.loading import TokenizerSettings
from edgepipe.tokenization.padding import Lengths, check_count, resolve_lengths, stack, target_length
from edgepipe.tokenization.tokenizer import Tokenizer


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


SETTINGS = TokenizerSettings(special_tokens={"pad_token": "[PAD]"}, model_max_length=512)
UNLIMITED = TokenizerSettings(special_tokens={"pad_token": "[PAD]"})


@pytest.mark.parametrize(
    ("settings", "padding", "truncation", "max_length", "expected"),
    [
        (SETTINGS, False, None, None, Lengths(None, None, None)),
        (SETTINGS, False, False, 9, Lengths(None, None, 9)),
        (SETTINGS, False, None, 9, Lengths(None, "longest_first", 9)),
        (SETTINGS, "do_not_pad", None, 9, Lengths(None, None, 9)),
        (SETTINGS, True, None, None, Lengths("longest", None, None)),
        (SETTINGS, True, True, None, Lengths("longest", "longest_first", 512)),
        (SETTINGS, "max_length", None, None, Lengths("max_length", None, 512)),
        (SETTINGS, "max_length", "only_first", 9, Lengths("max_length", "only_first", 9)),
        (SETTINGS, "max_length", "do_not_truncate", 0, Lengths("max_length", None, 0)),
        (UNLIMITED, "max_length", True, None, Lengths(None, None, None)),
        (UNLIMITED, True, True, None, Lengths("longest", None, None)),
        (UNLIMITED, True, True, 9, Lengths("longest", "longest_first", 9)),
    ],
)
def test_what_a_call_does_about_lengths(
    settings: TokenizerSettings, padding: Any, truncation: Any, max_length: int | None, expected: Lengths
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_lengths(settings, padding, truncation, max_length, None) == expected


def test_a_length_to_cut_at_is_a_multiple_where_both_are_on() -> None:
    with pytest.raises(InputError, match="max_length=12 is not a multiple of pad_to_multiple_of=8, but both"):
        resolve_lengths(SETTINGS, True, True, 12, 8)
    assert resolve_lengths(SETTINGS, True, True, 16, 8) == Lengths("longest", "longest_first", 16)
    assert resolve_lengths(SETTINGS, False, True, 12, 8) == Lengths(None, "longest_first", 12)
    assert resolve_lengths(SETTINGS, "max_length", False, 12, 8) == Lengths("max_length", None, 12)


@pytest.mark.parametrize(
    ("lengths", "multiple", "expected"),
    [
        (Lengths("longest", None, None), None, 5),
        (Lengths("longest", None, 9), None, 5),
        (Lengths("longest", None, None), 5, 5),
        (Lengths("longest", None, None), 4, 8),
        (Lengths("max_length", None, 9), None, 9),
        (Lengths("max_length", None, 9), 4, 12),
        (Lengths("max_length", None, 3), None, 3),
        (Lengths("max_length", None, 0), 4, 0),
    ],
)
def test_how_far_a_batch_of_five_tokens_is_padded(lengths: Lengths, multiple: int | None, expected: int) -> None:
    assert target_length(5, lengths, multiple) == expected


def test_every_column_has_its_own_filler_on_the_side_that_is_asked_for(bert: Tokenizer) -> None:
    rows = {
        "input_ids": [[5], [6, 7, 8]],
        "token_type_ids": [[1], [1, 1, 1]],
        "special_tokens_mask": [[0], [0, 0, 0]],
        "more": [[9], [9]],
    }
    found = bert.pad(rows, padding_side="left", pad_to_multiple_of=2)
    assert found == {
        "input_ids": [[0, 0, 0, 5], [0, 6, 7, 8]],
        "token_type_ids": [[0, 0, 0, 1], [0, 1, 1, 1]],
        "special_tokens_mask": [[1, 1, 1, 0], [1, 0, 0, 0]],
        "more": [[9], [9]],
        "attention_mask": [[0, 0, 0, 1], [0, 1, 1, 1]],
    }
    assert bert.pad({"input_ids": [5]}, padding="max_length", max_length=3) == {
        "input_ids": [5, 0, 0],
        "attention_mask": [1, 0, 0],
    }
    assert bert.pad({"input_ids": []}) == {"input_ids": [], "attention_mask": []}


def test_rows_become_an_array_where_they_can() -> None:
    array = stack("input_ids", [[1, 2], [3, 4]])
    assert (array.dtype, array.tolist()) == (np.int64, [[1, 2], [3, 4]])
    assert stack("length", [1, 2]).tolist() == [1, 2]
    assert stack("offset_mapping", [[(0, 1), (1, 2)]]).shape == (1, 2, 2)
    assert stack("input_ids", []).shape == (0,)
    with pytest.raises(InputError, match="the rows of 'input_ids' have 1 to 3 tokens, which is no array"):
        stack("input_ids", [[1, 2], [1], [1, 2, 3]])
    for values in ([["a"]], [[None]], [[2**64]]):
        with pytest.raises(InputError, match="the values of 'input_ids' are no whole numbers"):
            stack("input_ids", values)


def test_a_count_that_could_ask_for_terabytes() -> None:
    check_count("max_length", 2**24, least=0)
    check_count("max_length", np.int32(0), least=0)
    for value, least in [(2**24 + 1, 0), (0, 1), (True, 0), (1.0, 0), (None, 0)]:
        with pytest.raises(InputError, match=rf"max_length is {value!r}, expected a whole number from {least} to "):
            check_count("max_length", value, least=least)
