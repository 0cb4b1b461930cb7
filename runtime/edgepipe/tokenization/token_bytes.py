"""The bytes that a token stands for on its own, without its neighbours."""

from __future__ import annotations

import re

from edgepipe.tokenization.tokenizer import Tokenizer

# Decoded before each token, so that the blank in front of the token is not taken for that of the beginning of a text.
_PREFIX = "abcdef"
_BYTE = re.compile("<0x([0-9A-Fa-f]{2})>")


class TokenBytes:
    """Looks up what tokens stand for. Those of a byte-level vocabulary, or for a byte, may hold half a character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        steps = tokenizer.decoder_steps
        self._has_byte_tokens = "ByteFallback" in steps
        self._is_byte_level = "ByteLevel" in steps and not self._has_byte_tokens
        self._found: dict[int, bytes | None] = {}
        base = tokenizer(_PREFIX, add_special_tokens=False)["input_ids"]
        self._base = [str(tokenizer.convert_ids_to_tokens(token_id)) for token_id in base]
        # Not the prefix where the vocabulary lacks its letters, or has them in a way of its own.
        self._before = tokenizer.convert_tokens_to_string(self._base)

    def __getitem__(self, token_id: int) -> bytes | None:
        """What a token stands for; None where there is no such token."""
        if token_id not in self._found:
            token = self._tokenizer.convert_ids_to_tokens(token_id)
            self._found[token_id] = None if token is None else self._decode(str(token))
        return self._found[token_id]

    def _decode(self, token: str) -> bytes:
        byte = _BYTE.fullmatch(token) if self._has_byte_tokens else None
        if byte:
            return bytes([int(byte[1], 16)])
        if self._is_byte_level and all(character in _BYTE_BY_CHARACTER for character in token):
            return bytes(_BYTE_BY_CHARACTER[character] for character in token)
        whole = self._tokenizer.convert_tokens_to_string([*self._base, token])
        return whole.removeprefix(self._before).encode()


def _bytes_by_character() -> dict[str, int]:
    """How byte-level vocabularies write bytes: those that print as themselves, the others from 256 on.

    Radford et al., Language Models are Unsupervised Multitask Learners, ``bytes_to_unicode`` in the code with it.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}


_BYTE_BY_CHARACTER = _bytes_by_character()
