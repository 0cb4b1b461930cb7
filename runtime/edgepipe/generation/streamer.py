"""Tokens to text while they come: never half a character, and in the end exactly what decoding them at once gives."""

from __future__ import annotations

import re

from edgepipe.tokenization.tokenizer import Tokenizer

# A decoder shows this for bytes that are no character, or not yet: the rest of it may be in the next token.
_REPLACEMENT = "\ufffd"
# Tokens that are a byte each (SentencePiece's byte fallback). Only all of a run of them make text: with one byte more
# that fits nowhere, none of the run's characters is one.
_BYTE = re.compile("<0x[0-9A-F]{2}>")
# A decoder looks at the first token of what it gets in a way of its own (SentencePiece drops its blank), at a token's
# neighbours, and at no more. So after a while the first tokens are let go, but for some.
_LONGEST = 64
_KEPT = 16
# A blank after one of these may go, with what follows it (see `clean_up` of the vocabulary): "do n ' t" is "don't".
_BEFORE_A_LATER_BLANK = " 'n"
# No pattern of the clean-up spans more characters.
_SPAN = 8


class TextStreamer:
    """Turns tokens into text piece by piece.

    The pieces of all tokens, joined, are ``tokenizer.decode`` of all tokens.
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_special_tokens: bool = True, clean_up: bool | None = None) -> None:
        """Begin.

        Args:
            tokenizer: Decodes.
            skip_special_tokens: As in ``tokenizer.decode``.
            clean_up: Its ``clean_up_tokenization_spaces``.
        """
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._cleans = tokenizer.cleans_up(clean_up)
        self._ids: list[int] = []
        self._returned = 0  # characters of the window's text that were returned
        self._in_bytes = False  # whether the last token that shows is a byte
        self._held = ""  # text that the clean-up may still change

    def push(self, token: int) -> str:
        """The text that became whole with one more token, often none."""
        self._ids.append(token)
        if _BYTE.fullmatch(str(self._tokenizer.convert_ids_to_tokens(token))):
            self._in_bytes = True
        elif self._in_bytes and self._decode([token]):  # one that does not show ends no run
            self._in_bytes = False
        if self._in_bytes:
            return ""
        text = self._decode(self._ids)
        if text.endswith(_REPLACEMENT):
            return ""
        new = text[self._returned :]
        self._returned = max(self._returned, len(text))
        if len(self._ids) > _LONGEST:
            self._shorten(text)
        return self._clean(new)

    def finish(self) -> str:
        """The text that was held back to the end."""
        text = self._decode(self._ids)[self._returned :]
        self._returned += len(text)
        held, self._held = self._held + text, ""
        return self._tokenizer.clean_up(held) if self._cleans else held

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(
            ids, skip_special_tokens=self._skip_special_tokens, clean_up_tokenization_spaces=False
        )

    def _shorten(self, text: str) -> None:
        """Let go of the first tokens, where what is left decodes to the end of the text but for its first blank."""
        kept = self._ids[-_KEPT:]
        rest = self._decode(kept)
        # The first tokens that are kept must show, or the blank of those that come would be taken for the first.
        if rest.strip() and _REPLACEMENT not in rest and text.endswith(rest):
            self._ids, self._returned = kept, len(rest)

    def _clean(self, new: str) -> str:
        if not self._cleans:
            return new
        text = self._held + new
        cut = _find_cut(text)
        self._held = text[cut:]
        return self._tokenizer.clean_up(text[:cut])


def _find_cut(text: str) -> int:
    """The last place where text can be cut so that both halves cleaned up are the whole cleaned up.

    Every pattern of the clean-up begins with a blank. One that reaches over a cut begins at most `_SPAN` characters
    before it; and one that reaches over a cut before a blank has a blank, a quote or an n before the cut.
    """
    if " " not in text[-_SPAN:]:
        return len(text)
    for place in range(len(text) - 1, 0, -1):
        if text[place] == " " and text[place - 1] not in _BEFORE_A_LATER_BLANK:
            return place
    return 0
