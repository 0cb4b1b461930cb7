"""Text while it comes: whole characters, and in the end what decoding everything at once gives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepipe import Tokenizer
from edgepipe.generation.streamer import TextStreamer
from tests.golden.cases import LONG, TEXTS
from tests.tiny import TOKENIZERS

# One of each kind of decoder: byte-level, byte fallback, SentencePiece's blank, word pieces.
FAMILIES = ("gpt2", "llama", "t5", "bert")
HALF = "\ufffd"


def tokenizer(family: str) -> Tokenizer:
    return Tokenizer.from_pretrained(TOKENIZERS / family)


def pieces(stream: TextStreamer, ids: list[int]) -> list[str]:
    return [*(stream.push(token) for token in ids), stream.finish()]


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_pieces_are_the_text(family: str, skip: bool) -> None:
    loaded = tokenizer(family)
    for text in [*TEXTS.values(), LONG, "".join(TEXTS.values()) * 3]:
        ids = loaded(text)["input_ids"]
        found = pieces(TextStreamer(loaded, skip_special_tokens=skip), ids)
        assert "".join(found) == loaded.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_no_piece_has_half_a_character(family: str) -> None:
    loaded = tokenizer(family)
    text = TEXTS["emoji"] + TEXTS["CJK"] + TEXTS["combining"]
    ids = loaded(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > len(text)  # characters take several tokens
    found = pieces(TextStreamer(loaded), ids)
    assert "".join(found) == text
    assert all(HALF not in piece for piece in found)


def test_text_comes_while_it_is_written() -> None:
    loaded = tokenizer("gpt2")
    ids = loaded(LONG)["input_ids"]
    stream = TextStreamer(loaded)
    for count, token in enumerate(ids, 1):
        assert stream.push(token) == loaded.decode([token]), count
    assert stream.finish() == ""


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_tokens_at_all(family: str, data: st.DataObject) -> None:
    """What a model writes need be no text: halves of characters, special tokens, blanks in a row."""
    loaded = tokenizer(family)
    ids = data.draw(st.lists(st.integers(0, len(loaded) - 1), min_size=1, max_size=150))
    skip = data.draw(st.booleans())
    assert "".join(pieces(TextStreamer(loaded, skip_special_tokens=skip), ids)) == loaded.decode(
        ids, skip_special_tokens=skip
    )


@settings(max_examples=80, deadline=None)
@given(
    words=st.lists(st.sampled_from([" ", "'", "n", "t", ".", "s", "a", "' s", " n ' t", " ,", "ve", "!"]), max_size=30)
)
def test_cleaned_up_text(words: list[str]) -> None:
    """A blank that the clean-up takes out is held back until it is known to stay."""
    loaded = Tokenizer(tokenizer("bert")._backend, tokenizer("bert")._settings)
    text = "".join(words)
    stream = TextStreamer(loaded, clean_up=True)
    found = [stream._clean(character) for character in text] + [stream.finish()]
    assert "".join(found) == loaded.clean_up(text)


def test_cleaned_up_tokens() -> None:
    loaded = tokenizer("t5")
    ids = loaded("It is n ' t , he said . We 've been there ! And so on , and so on ?")["input_ids"]
    found = pieces(TextStreamer(loaded, clean_up=True), ids)
    assert "".join(found) == loaded.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=True)
    assert sum(map(bool, found)) > 5
