"""Tokens and ids, one by one and in lists."""

from pathlib import Path
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
    assert bert.batch_decode([]) == []
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


def test_what_is_loaded_cannot_be_changed(bert: Tokenizer) -> None:
    with pytest.raises(AttributeError, match="pad_token cannot be set: a loaded tokenizer does not change"):
        bert.pad_token = "[SEP]"
    with pytest.raises(AttributeError, match="pad_token_id cannot be set"):
        bert.pad_token_id = 3
    assert (bert.pad_token, bert.pad_token_id) == ("[PAD]", 0)
    bert.special_tokens_map.clear()
    bert.get_vocab().clear()
    bert.model_input_names.clear()
    bert.all_special_tokens.clear()
    assert (bert.special_tokens_map["cls_token"], bert.get_vocab()["[CLS]"]) == ("[CLS]", 2)
    assert (bert.model_input_names[0], len(bert.all_special_tokens)) == ("input_ids", 5)


def test_a_special_token_that_there_is_not_is_none(gpt2: Tokenizer) -> None:
    assert (gpt2.mask_token, gpt2.mask_token_id) == (None, None)
    assert gpt2.eos_token_id in gpt2.all_special_ids


def test_marks_of_subwords_and_steps_of_decoding(bert: Tokenizer, data: Path) -> None:
    assert (bert.continuing_subword_prefix, bert.decoder_steps) == ("##", {"WordPiece"})
    llama = Tokenizer.from_pretrained(data / "llama")
    assert llama.continuing_subword_prefix is None
    assert llama.decoder_steps == {"ByteFallback", "Fuse", "Replace", "Sequence", "Strip"}


def test_special_tokens_can_be_skipped(bert: Tokenizer) -> None:
    ids = bert("The quick fox.")["input_ids"]
    tokens = ["the", "qu", "##ic", "##k", "fo", "##x", "."]
    assert bert.convert_ids_to_tokens(ids) == ["[CLS]", *tokens, "[SEP]"]
    assert bert.convert_ids_to_tokens(np.array(ids), skip_special_tokens=True) == tokens
    assert bert.convert_tokens_to_ids(["[CLS]", *tokens, "[SEP]"]) == ids
    assert bert.convert_tokens_to_string(tokens) == "the quick fox."
    assert bert.decode(ids, skip_special_tokens=True) == "the quick fox."
    assert bert.decode(ids) == "[CLS] the quick fox. [SEP]"
    assert bert.batch_decode([ids, ids[:2]], skip_special_tokens=True) == ["the quick fox.", "the"]


def test_blanks_are_taken_out_in_the_order_of_the_reference(bert: Tokenizer, gpt2: Tokenizer, data: Path) -> None:
    t5 = Tokenizer.from_pretrained(data / "t5")
    assert bert.clean_up("do n't , I 'm sure ? it 's ! we 've you 're a ' b .") == (
        "don't, I'm sure? it's! we've you're a'b."
    )
    assert bert.clean_up(" n't ' s") == "n't's"
    assert bert.cleans_up(True)
    assert not bert.cleans_up(False)
    assert not gpt2.cleans_up(True), "byte-pair tokenizers keep their blanks"
    for tokenizer, cleaned in [(t5, "a, b's"), (gpt2, "a , b ' s")]:
        ids = tokenizer("a , b ' s")["input_ids"]
        found = [tokenizer.decode(ids, True, clean) for clean in (None, True, False)]
        assert found == ["a , b ' s", cleaned, "a , b ' s"]
