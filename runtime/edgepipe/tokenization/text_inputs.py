"""What a tokenizer is called with, sorted into rows: texts, pairs of texts, texts that are lists of words."""

from __future__ import annotations

from typing import Any

from edgepipe.errors import InputError


def text_rows(text: Any, text_pair: Any, words: bool) -> tuple[list[Any], bool]:
    """The rows to encode (texts, or tuples of two), and whether the caller gave a batch.

    Raises:
        InputError: it is no text, nor a batch of texts.
    """
    if not words and type(text) is str and (text_pair is None or type(text_pair) is str):
        # An empty second text counts as none, as in transformers.
        return [(text, text_pair) if text_pair else text], False
    if text is None:
        raise InputError("no text was given; pass a text, or a list of texts.")
    _check_type("text", text, words)
    if text_pair is not None:
        _check_type("text_pair", text_pair, words)
    # No words at all are one empty text, no texts at all an empty batch.
    batched = bool(text) and not isinstance(text[0], str) if words else not isinstance(text, str)
    if not batched:
        rows = [(text, text_pair) if text_pair else text]
    elif text_pair is None:
        rows = list(text)
    elif isinstance(text_pair, str):
        raise InputError("text is a batch but text_pair is one text; pass a list of second texts, one a text.")
    elif len(text) != len(text_pair):
        raise InputError(f"text has {len(text)} entries but text_pair has {len(text_pair)}; they go in pairs.")
    else:
        rows = list(zip(text, text_pair, strict=True))
    for index, row in enumerate(rows):
        if not (_is_text(row, words) or _is_text_pair(row, words)):
            kind = "a list of words, or a pair of such lists" if words else "a text, or a pair of texts"
            where = f"entry {index} of the batch is" if batched else "the input is"
            raise InputError(f"{where} {row!r:.80}, expected {kind}.")
    return rows, batched


def _check_type(name: str, value: Any, words: bool) -> None:
    if words and isinstance(value, str):
        raise InputError(
            f"{name} is one text, but is_split_into_words=True expects a list of words; split it, or leave the "
            "option out."
        )
    if not isinstance(value, str | list | tuple):
        raise InputError(f"{name} is {value!r:.80} ({type(value).__name__}), expected a text or a list of texts.")


def _is_text(row: Any, words: bool) -> bool:
    if not words:
        return isinstance(row, str)
    return isinstance(row, list | tuple) and all(isinstance(word, str) for word in row)


def _is_text_pair(row: Any, words: bool) -> bool:
    return isinstance(row, list | tuple) and len(row) == 2 and all(_is_text(text, words) for text in row)
