"""Texts that end a sequence, found across the borders of tokens as transformers' ``StopStringCriteria`` finds them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.tokenization.tokenizer import Tokenizer

# Decoded before each token, so that the token's blank in front is not taken for that of a text's beginning.
_PREFIX = "abcdef"
_BYTE = re.compile("<0x([0-9A-Fa-f]{2})>")


class StopStrings:
    """Says whether a sequence's last token completes one of some texts.

    What counts is the text that each token stands for on its own, joined: a text is found where it ends in the last
    token, whether or not the token goes on after it. Tokens of a byte-level vocabulary, and those that stand for a
    byte, are compared as bytes: a token may hold half a character.
    """

    def __init__(self, strings: Sequence[str], tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        steps = tokenizer.decoder_steps
        self._has_byte_tokens = "ByteFallback" in steps
        self._is_byte_level = "ByteLevel" in steps and not self._has_byte_tokens
        self._texts: dict[int, bytes | None] = {}
        self._strings = [text.encode() for text in strings]
        # The longest text has no more tokens than bytes: what lies farther back cannot matter.
        self._reach = max(map(len, self._strings))
        base = tokenizer(_PREFIX, add_special_tokens=False)["input_ids"]
        self._base = [str(tokenizer.convert_ids_to_tokens(token_id)) for token_id in base]

    def __call__(self, ids: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the sequences, int64[rows, length] and int64[rows] for the last token, are complete: bool[rows]."""
        before = ids[:, max(ids.shape[1] + 1 - self._reach, 0) :].tolist()
        return np.array([self._ends([*row, last]) for row, last in zip(before, tokens.tolist(), strict=True)])

    def _ends(self, row: list[int]) -> bool:
        last = self._text(row[-1])
        if not last:
            return False
        text = b""
        for token in reversed(row[:-1]):
            piece = self._text(token)
            if piece is None:
                break
            text = piece + text
        # At least one byte of a string must lie in the last token.
        return any((text + last).find(each, max(len(text) - len(each) + 1, 0)) >= 0 for each in self._strings)

    def _text(self, token_id: int) -> bytes | None:
        """What a token stands for; None where there is no such token."""
        if token_id not in self._texts:
            token = self._tokenizer.convert_ids_to_tokens(token_id)
            self._texts[token_id] = None if token is None else self._decoded(str(token))
        return self._texts[token_id]

    def _decoded(self, token: str) -> bytes:
        byte = _BYTE.fullmatch(token) if self._has_byte_tokens else None
        if byte:
            return bytes([int(byte[1], 16)])
        if self._is_byte_level and all(character in _BYTE_BY_CHARACTER for character in token):
            return bytes(_BYTE_BY_CHARACTER[character] for character in token)
        whole = self._tokenizer.convert_tokens_to_string([*self._base, token])
        _, found, text = whole.partition(_PREFIX)
        return (text if found else whole).encode()


def _bytes_by_character() -> dict[str, int]:
    """How byte-level vocabularies write bytes: those that print as themselves, the others from 256 on.

    Radford et al., Language Models are Unsupervised Multitask Learners, ``bytes_to_unicode`` in the code with it.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}


_BYTE_BY_CHARACTER = _bytes_by_character()
