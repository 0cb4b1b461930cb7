"""Cutting a WordPiece vocabulary down to what a small model can afford.

At 384 values a row the 30,522 pieces of bert-base-uncased would be 11.7 MB of int8, more than the rest of the model
together. A piece that is cut is not lost: WordPiece spells the word with shorter pieces, down to single characters.
"""

import copy
from collections.abc import Mapping, Sequence, Set
from typing import Any

__all__ = ["SPECIAL_TOKENS", "base_pieces", "cut_tokenizer", "select_pieces", "whole_words"]

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# Besides ASCII: what word processors and phones put into English text (dashes, curly quotes, an ellipsis, a bullet,
# pound, euro, yen, degree, copyright, registered, trade mark, one half).
_TYPOGRAPHY = frozenset(
    "\u2013\u2014\u2018\u2019\u201c\u201d\u2026\u2022\u00a3\u20ac\u00a5\u00b0\u00a9\u00ae\u2122\u00bd"
)


def _is_character(piece: str) -> bool:
    """Whether a piece is one character, at the start of a word or within it (`##`), that English text needs."""
    character = piece.removeprefix("##")
    return len(character) == 1 and (character.isascii() or character in _TYPOGRAPHY)


def whole_words(vocabulary: Mapping[str, int]) -> list[str]:
    """The pieces that are English words by themselves, in id order (for BERT: roughly most frequent first)."""
    words = [piece for piece in vocabulary if len(piece) > 1 and piece.isascii() and piece.isalpha()]
    return sorted(words, key=vocabulary.__getitem__)


def base_pieces(vocabulary: Mapping[str, int], counts: Mapping[str, int], *, min_count: int) -> list[str]:
    """The pieces that are kept in any case.

    These are the special tokens, the single characters (without which words would turn into `[UNK]`) and the pieces
    seen at least `min_count` times in the training text.

    Args:
        vocabulary: Piece to id.
        counts: Piece to its number of occurrences in the training text.
        min_count: Occurrences from which a piece is kept.

    Returns:
        The pieces in id order, special tokens first.

    Raises:
        ValueError: If the vocabulary lacks a special token.
    """
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing:
        raise ValueError(f"the vocabulary lacks the special tokens {missing}")
    kept = {piece for piece in vocabulary if _is_character(piece) or counts.get(piece, 0) >= min_count}
    return _sort_by_id(kept, vocabulary)


def select_pieces(
    vocabulary: Mapping[str, int], base: Sequence[str], leanings: Mapping[str, float], *, size: int
) -> list[str]:
    """Fill the vocabulary up to `size` with the whole words that are most worth their row.

    A word's worth is how far it leans to either label, over the square root of its frequency rank: BERT's ids are in
    order of frequency, but in novels and an encyclopedia, so the rank is a hint and not (as 1/rank would be) a law.

    Args:
        vocabulary: Piece to id, ids in order of frequency.
        base: The pieces that are kept in any case.
        leanings: Whole word to its leaning, 0 for a neutral word.
        size: How many pieces to keep.

    Returns:
        `size` pieces (fewer if there are no more words) in id order, special tokens first.

    Raises:
        ValueError: If `base` alone is more than `size`.
    """
    if len(base) > size:
        raise ValueError(f"{len(base)} indispensable pieces do not fit in a vocabulary of {size}")
    kept = set(base)
    ranks = {word: rank for rank, word in enumerate(whole_words(vocabulary), start=1)}
    worth = {word: abs(leanings.get(word, 0.0)) / rank**0.5 for word, rank in ranks.items()}
    words = sorted(ranks.keys() - kept, key=lambda word: (-worth[word], ranks[word]))
    return _sort_by_id(kept | set(words[: size - len(kept)]), vocabulary)


def _sort_by_id(pieces: Set[str], vocabulary: Mapping[str, int]) -> list[str]:
    return [*SPECIAL_TOKENS, *sorted(pieces - set(SPECIAL_TOKENS), key=vocabulary.__getitem__)]


def cut_tokenizer(tokenizer: Mapping[str, Any], pieces: Sequence[str]) -> dict[str, Any]:
    """Renumber a BERT `tokenizer.json` for the pieces that are kept.

    Args:
        tokenizer: The parsed tokenizer.json of a WordPiece tokenizer.
        pieces: The pieces to keep; a piece's place in the list becomes its id.

    Returns:
        A new tokenizer.json, without padding and truncation: callers decide on those.
    """
    ids = {piece: index for index, piece in enumerate(pieces)}
    cut = copy.deepcopy(dict(tokenizer))
    cut["truncation"] = cut["padding"] = None
    cut["model"]["vocab"] = ids
    cut["added_tokens"] = [
        {**token, "id": ids[token["content"]]} for token in cut["added_tokens"] if token["content"] in ids
    ]
    post_processor = cut["post_processor"]
    if post_processor["type"] != "TemplateProcessing":
        raise ValueError(f"expected the post-processor TemplateProcessing, got {post_processor['type']!r}")
    for name, token in post_processor["special_tokens"].items():
        token["ids"] = [ids[name]]
    return cut
