"""The table of padding and truncation, and padding of what is already encoded."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe.errors import InputError
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
