"""What a tokenizer call returns: a dictionary of lists or arrays that can also map tokens to words and characters."""

from collections.abc import Sequence
from typing import Any

from tokenizers import Encoding

from edgepipe.errors import InputError


class BatchEncoding(dict[str, Any]):
    """Model inputs by name, and the `tokenizers.Encoding` behind each row.

    The values are lists, or int64 arrays of shape [batch, tokens] where arrays were asked for (``offset_mapping``:
    [batch, tokens, 2]; ``length`` and ``overflow_to_sample_mapping``: [batch]). A value can also be read as an
    attribute: ``encoding.input_ids``.

    Attributes:
        encodings: One a row, padded as the row is; empty where the values did not come from text (`Tokenizer.pad`).
    """

    encodings: Sequence[Encoding]

    def __init__(self, values: dict[str, Any], encodings: Sequence[Encoding] = ()) -> None:
        super().__init__(values)
        self.encodings = encodings

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the encoding has no {name!r}; it has {', '.join(self)}") from None

    @property
    def is_cut(self) -> bool:
        """Whether something of a text was cut off."""
        return any(encoding.overflowing for encoding in self.encodings)

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of one row, special tokens and padding included."""
        tokens: list[str] = self._row(batch_index).tokens
        return tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of one row the index of its word in the text; None for special tokens and padding."""
        word_ids: list[int | None] = self._row(batch_index).word_ids
        return word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of one row 0 (first text), 1 (second text) or None (special tokens and padding)."""
        sequence_ids: list[int | None] = self._row(batch_index).sequence_ids
        return sequence_ids

    # As in transformers, the methods below take (row, index), or the index alone for the first row.

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Index of the token that holds a character of the text; None for a blank between tokens."""
        row, index = self._at(batch_or_char_index, char_index)
        token: int | None = row.char_to_token(index, sequence_index)
        return token

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Index of the word that holds a character of the text; None for a blank between words."""
        row, index = self._at(batch_or_char_index, char_index)
        word: int | None = row.char_to_word(index, sequence_index)
        return word

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> tuple[int, int] | None:
        """Start and end of a token in its text, in characters; None for a special token."""
        row, index = self._at(batch_or_token_index, token_index)
        span: tuple[int, int] | None = row.token_to_chars(index)
        return span

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Index of the word that a token belongs to; None for a special token."""
        row, index = self._at(batch_or_token_index, token_index)
        word: int | None = row.token_to_word(index)
        return word

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """0 for a token of the first text, 1 for one of the second; None for a special token."""
        row, index = self._at(batch_or_token_index, token_index)
        sequence: int | None = row.token_to_sequence(index)
        return sequence

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> tuple[int, int] | None:
        """First token of a word and the one after its last; None where the word has no token."""
        row, index = self._at(batch_or_word_index, word_index)
        span: tuple[int, int] | None = row.word_to_tokens(index, sequence_index)
        return span

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> tuple[int, int] | None:
        """Start and end of a word in its text, in characters; None where the word has no token."""
        row, index = self._at(batch_or_word_index, word_index)
        span: tuple[int, int] | None = row.word_to_chars(index, sequence_index)
        return span

    def _at(self, first: int, second: int | None) -> tuple[Encoding, int]:
        return (self._row(0), first) if second is None else (self._row(first), second)

    def _row(self, batch_index: int) -> Encoding:
        if not self.encodings:
            raise InputError(
                "this encoding was not made from text, so it cannot map tokens to words or characters; "
                "use what the tokenizer's call returned."
            )
        try:
            return self.encodings[batch_index]
        except IndexError:
            raise InputError(f"row {batch_index} was asked for, but the encoding has {len(self.encodings)}.") from None
