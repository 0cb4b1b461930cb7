"""Tokens and ids, one by one and in lists."""

from typing import Any

import numpy as np
import pytest

from edgepipe.errors import InputError
from edgepipe.tokenization.tokenizer import Tokenizer


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


def test_properties(ours: Tokenizer, reference: Any) -> None:
    for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        for attribute in (f"{name}_token", f"{name}_token_id"):
            assert getattr(ours, attribute) == getattr(reference, attribute), attribute
    for attribute in (
        *("padding_side", "truncation_side", "vocab_size", "is_fast"),
        *("all_special_tokens", "all_special_ids", "special_tokens_map"),
    ):
        assert getattr(ours, attribute) == getattr(reference, attribute), attribute
    assert set(ours.model_input_names) == set(reference.model_input_names)
    assert ours.model_max_length == (None if reference.model_max_length > 1e20 else reference.model_max_length)
    assert len(ours) == len(reference)
    assert ours.get_vocab() == reference.get_vocab()
    assert ours.num_special_tokens_to_add(True) == reference.num_special_tokens_to_add(True)
    assert ours.convert_tokens_to_ids("no such token") == reference.convert_tokens_to_ids("no such token")
