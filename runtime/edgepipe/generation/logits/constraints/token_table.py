"""The bytes that each token of a vocabulary adds to a text, as llguidance needs them.

A token may add other bytes where it is the first of a text: SentencePiece drops the blank that the first token begins
with, and WordPiece puts one before every other. So there are two tables. That the bytes joined are what the tokenizer
decodes is checked with tokens drawn at random before a table is used.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Sequence
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np

from edgepipe.errors import InputError
from edgepipe.generation.logits.constraints.grammar import import_llguidance
from edgepipe.tokenization.token_bytes import TokenBytes
from edgepipe.tokenization.tokenizer import Tokenizer

# Steps of decoders that give each token its own text, wherever it is but at the beginning.
_KNOWN_STEPS = frozenset(
    {"ByteLevel", "Sequence", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace", "WordPiece"}
)
_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")
# The engine marks special tokens by this byte, which no text has.
_MARK = 0xFF


class TokenTable:
    """What the tokens of a tokenizer stand for.

    The engine gets more tokens than the vocabulary has: each byte, so that it can be told of any text, and one for the
    end of a text. Special tokens, which a text does not show, are no part of any text.

    Attributes:
        later: The bytes of each token behind another, for each id of the vocabulary.
        first: Its bytes at the beginning.
        count: How many tokens these are: those of the vocabulary, and some that show nothing, up to a multiple of 8.
        end: The engine's token for the end.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Look all tokens up.

        Raises:
            InputError: what a token adds to a text depends on more than whether it is the first.
        """
        self._tokenizer = tokenizer
        self._hidden = tokenizer.hidden_ids
        vocabulary = tokenizer.get_vocab()
        self.count = (max(vocabulary.values(), default=-1) + 8) // 8 * 8
        self.later: list[bytes] = [b""] * self.count
        self.first: list[bytes] = self.later
        if not tokenizer.decoder_steps or not tokenizer.decoder_steps <= _KNOWN_STEPS:
            raise self._error()
        shown = {token: token_id for token, token_id in vocabulary.items() if token_id not in self._hidden}
        look_up = TokenBytes(tokenizer)
        for token_id in shown.values():
            self.later[token_id] = _without_mark(look_up[token_id] or b"")
        if "ByteLevel" not in tokenizer.decoder_steps:
            self.first = [b""] * self.count
            for token, token_id in shown.items():
                self.first[token_id] = self._look_up_first(token, self.later[token_id])
        self.end = self.count + 256
        self._check()

    def shows(self, token_id: int) -> bool:
        """Whether a token can be a part of a text; special ones cannot, which `decode` leaves out."""
        return token_id < self.count and bool(self.later[token_id])

    @property
    def differs_at_start(self) -> bool:
        """Whether tokens have other bytes at the beginning."""
        return self.first is not self.later

    @cached_property
    def engine(self) -> Any:
        """llguidance's tokenizer of all tokens behind others."""
        return _make_engine(self.later, self.end)

    @cached_property
    def engine_at_start(self) -> Any:
        """llguidance's tokenizer of all tokens at the beginning."""
        return _make_engine(self.first, self.end) if self.differs_at_start else self.engine

    @cached_property
    def no_bits(self) -> bytes:
        """As many bits as there are tokens, none of them set."""
        return bytes(self.count // 8)

    @cached_property
    def silent_at_start(self) -> Sequence[int]:
        """Tokens that show nothing at the beginning, and something elsewhere: a lone blank of SentencePiece's."""
        return [
            each for each, (first, later) in enumerate(zip(self.first, self.later, strict=True)) if later > first == b""
        ]

    def engine_tokens(self, token_id: int, *, is_first: bool) -> list[int] | None:
        """The tokens by which :attr:`engine` is told of a token; None for one that is no part of a text."""
        if not self.shows(token_id):
            return None
        if not is_first or not self.differs_at_start:
            return [token_id]
        return [self.count + byte for byte in self.first[token_id]]

    def _look_up_first(self, token: str, later: bytes) -> bytes:
        """What a token shows at the beginning of a text."""
        if len(later) == 1 and later[0] >= 0x80 and _BYTE.fullmatch(token):  # a part of a character
            return later
        return self._tokenizer.convert_tokens_to_string([token]).encode()

    def _check(self) -> None:
        """Compare bytes with texts.

        Raises:
            InputError: they differ.
        """
        whole = [
            token_id for token_id, text in enumerate(self.later) if text and (len(text) > 1 or text[0] < 0x80)
        ]  # bytes of halves of characters are shown by each kind of decoder in a way of its own
        draws = np.random.default_rng(0)
        for _ in range(64 if whole else 0):
            ids = draws.choice(whole, 6).tolist()
            joined = self.first[ids[0]] + b"".join(self.later[token_id] for token_id in ids[1:])
            decoded = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            if joined.decode(errors="replace") != decoded:
                raise self._error()

    def _error(self) -> InputError:
        steps = ", ".join(sorted(self._tokenizer.decoder_steps))
        return InputError(
            "json_schema, regex and choices need a tokenizer whose tokens stand for the same text wherever they are, "
            f"and this one's do not (steps of its decoder: {steps}); leave them out, or take another model"
        )


_tables: weakref.WeakKeyDictionary[Tokenizer, TokenTable] = weakref.WeakKeyDictionary()
_lock = Lock()


def token_table(tokenizer: Tokenizer) -> TokenTable:
    """The table of a tokenizer, made once: that takes a second where there are a hundred thousand tokens.

    Raises:
        InputError: see :class:`TokenTable`.
    """
    with _lock:
        if tokenizer not in _tables:
            _tables[tokenizer] = TokenTable(tokenizer)
        return _tables[tokenizer]


def _without_mark(text: bytes) -> bytes:
    return b"" if _MARK in text else text


def _make_engine(tokens: Sequence[bytes], end: int) -> Any:
    llguidance = import_llguidance()
    singles = [_without_mark(bytes([byte])) for byte in range(256)]
    wrapper = llguidance.TokenizerWrapper(_EngineVocabulary([*tokens, *singles, b"</s>"], len(tokens)))
    return llguidance.LLTokenizer(wrapper, n_vocab=end + 1, eos_token=end)


class _EngineVocabulary:
    """What llguidance asks of a tokenizer."""

    bos_token_id = None

    def __init__(self, tokens: list[bytes], singles: int) -> None:
        self.tokens = tokens
        self.eos_token_id = len(tokens) - 1
        self.special_token_ids = [self.eos_token_id]
        self._singles = singles

    def __call__(self, text: bytes) -> list[int]:
        """Tokens of a text; the engine needs some, and does not look at which."""
        return [self._singles + byte for byte in text]
