"""CTRL and Blenderbot-small: byte pairs within words, at their edges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from edgepipe_export.checkpoint.tokenizer_conversion import word_bpe
from tests.export.checkpoint.tokenizer_conversion.slow_tokenizers import blenderbot_small, ctrl

CONVERSIONS: dict[str, tuple[Callable[[Path], Any], Callable[[Any], Tokenizer]]] = {
    "ctrl": (ctrl, word_bpe.ctrl),
    "blenderbot-small": (blenderbot_small, word_bpe.blenderbot_small),
}
TEXTS = [
    "",
    "The train leaves.",
    "two\nlines \n\n and\tmore",
    "don't, won't! (yes?) 'quoted'",
    "UPPER lower",
    "a.b.c ... 12.5",
    "wo@@ rd",
    "\u4f60\u597d caf\u00e9",
]


@pytest.fixture(scope="module", params=CONVERSIONS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Tokenizer]:
    make, convert = CONVERSIONS[request.param]
    slow = make(tmp_path_factory.mktemp(request.param))
    return slow, convert(slow)


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_divided_as_in_transformers(text: str, both: tuple[Any, Tokenizer]) -> None:
    slow, fast = both
    assert fast.encode(text).ids == slow(text)["input_ids"]


@pytest.mark.parametrize("text", TEXTS)
def test_parts_are_joined_as_in_transformers(text: str, both: tuple[Any, Tokenizer]) -> None:
    slow, fast = both
    ids = slow(text)["input_ids"]
    for end in (len(ids), 1):  # a text may end within a word
        assert fast.decode(ids[:end]) == slow.decode(ids[:end], skip_special_tokens=True)


def test_parts_without_an_id_have_one_that_no_model_takes(both: tuple[Any, Tokenizer]) -> None:
    slow, fast = both
    vocabulary = fast.get_vocab()
    parts = {token for token, number in vocabulary.items() if number >= len(slow.encoder)}
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    named = {token.removesuffix("@@") if token.endswith("@@") else f"{token}</w>" for token in slow.encoder}
    assert not parts & named
