"""Cutting the vocabulary, on one small enough to see through."""

import json

import pytest
from tokenizers import Tokenizer

from training.vocabulary import base_pieces, cut_tokenizer, select_pieces, whole_words

PIECES = [
    "[PAD]",
    "[unused0]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "!",
    "a",
    "b",
    "é",
    "水",
    "##a",
    "##b",
    "the",
    "county",
    "film",
    "awful",
    "##ful",
    "delight",
    "1999",
]
VOCABULARY = {piece: index for index, piece in enumerate(PIECES)}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def test_whole_words_are_words_in_order_of_id() -> None:
    assert whole_words(VOCABULARY) == ["the", "county", "film", "awful", "delight"]


def test_base_is_special_tokens_characters_and_what_the_text_has_often() -> None:
    counts = {"film": 3, "##ful": 2, "the": 9}
    assert base_pieces(VOCABULARY, counts, min_count=3) == [*SPECIAL, "!", "a", "b", "##a", "##b", "the", "film"]


def test_a_missing_special_token_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"lacks the special tokens \['\[MASK\]'\]"):
        base_pieces({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}, {}, min_count=1)


def test_words_with_a_leaning_go_before_frequent_ones() -> None:
    base = base_pieces(VOCABULARY, {}, min_count=1)
    leanings = {"the": 0.1, "county": 0.2, "film": -0.1, "awful": -5.0, "delight": 4.0}
    chosen = select_pieces(VOCABULARY, base, leanings, size=len(base) + 2)
    assert [piece for piece in chosen if piece not in base] == ["awful", "delight"]
    assert chosen[:5] == SPECIAL
    assert [VOCABULARY[piece] for piece in chosen[5:]] == sorted(VOCABULARY[piece] for piece in chosen[5:])


def test_at_equal_leaning_the_more_frequent_word_wins() -> None:
    base = base_pieces(VOCABULARY, {}, min_count=1)
    chosen = select_pieces(VOCABULARY, base, dict.fromkeys(PIECES, 1.0), size=len(base) + 1)
    assert set(chosen) - set(base) == {"the"}


def test_a_size_below_the_base_is_an_error() -> None:
    with pytest.raises(ValueError, match="10 indispensable pieces do not fit in a vocabulary of 9"):
        select_pieces(VOCABULARY, base_pieces(VOCABULARY, {}, min_count=1), {}, size=9)


def test_a_cut_tokenizer_spells_the_words_it_lost() -> None:
    special = {name: {"id": name, "ids": [VOCABULARY[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    template = [{"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]")]
    template.insert(1, {"Sequence": {"id": "A", "type_id": 0}})
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    full = {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": None,
        "added_tokens": [{"id": VOCABULARY[name], "content": name, "special": True, **flags} for name in SPECIAL],
        "normalizer": None,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": template,
            "pair": template,
            "special_tokens": special,
        },
        "decoder": None,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {**VOCABULARY, "ab": len(PIECES)},
        },
    }
    before = json.dumps(full)
    pieces = [*SPECIAL, "!", "a", "##b", "the"]
    cut = Tokenizer.from_str(json.dumps(cut_tokenizer(full, pieces)))

    assert Tokenizer.from_str(before).encode("ab the").tokens == ["[CLS]", "ab", "the", "[SEP]"]
    encoding = cut.encode("ab the the film !")
    assert encoding.tokens == ["[CLS]", "a", "##b", "the", "the", "[UNK]", "!", "[SEP]"]
    assert encoding.ids == [pieces.index(token) for token in encoding.tokens]
    assert json.dumps(full) == before
