"""ByT5's bytes."""

from __future__ import annotations

import random

import pytest
from transformers import ByT5Tokenizer

from edgepipe_export.checkpoint.tokenizer_conversion.byt5 import convert
from edgepipe_export.checkpoint.tokenizer_conversion.convert import convert_to_fast

SLOW = ByT5Tokenizer()
BACKEND = convert(SLOW)


def test_every_byte_is_a_token_behind_the_special_ones() -> None:
    text = "".join(map(chr, range(1, 128))) + "é你😀"
    assert BACKEND.encode(text).ids == [byte + SLOW.offset for byte in text.encode()] + [SLOW.eos_token_id]
    assert BACKEND.decode(BACKEND.encode(text).ids) == text


def test_a_pair_has_two_ends() -> None:
    assert BACKEND.encode("a", "b").ids == SLOW("a", "b")["input_ids"]


@pytest.mark.parametrize("text", ["", "a<extra_id_0>b", "<extra_id_124>", "<pad> </s> a", "<extra_id_999>"])
def test_masks_of_spans_are_found_in_a_text(text: str) -> None:
    assert BACKEND.encode(text).ids == SLOW(text)["input_ids"]


def test_another_number_of_masks() -> None:
    fewer = ByT5Tokenizer(extra_ids=3)
    for text in ("<extra_id_2>", "<extra_id_3>"):
        assert convert(fewer).encode(text).ids == fewer(text)["input_ids"]


@pytest.mark.parametrize("text", ["我们今天去北京大学", "naïve 😀 café", "\ufffd and \ufffd", "a"])
def test_characters_that_are_cut_are_left_out(text: str) -> None:
    fast = convert_to_fast(SLOW)
    ids = SLOW(text)["input_ids"]
    for start in range(len(ids)):
        for end in range(start, len(ids)):
            for skipped in (True, False):
                expected = SLOW.decode(ids[start:end], skip_special_tokens=skipped)
                assert fast.decode(ids[start:end], skip_special_tokens=skipped) == expected


def test_bytes_in_any_order() -> None:
    fast = convert_to_fast(SLOW)
    draw = random.Random(0)
    for _ in range(500):
        ids = [draw.randrange(3, 259) for _ in range(draw.randrange(9))]
        assert fast.decode(ids) == SLOW.decode(ids)
