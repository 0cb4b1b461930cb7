"""The half of a tokenizer that knows tokens and ids: special tokens, conversions, decoding."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, NoReturn, overload

import numpy as np
from tokenizers import Tokenizer as RustTokenizer

from edgepipe.arguments import is_whole
from edgepipe.errors import InputError, convert_panics
from edgepipe.tokenization.loading import TokenizerSettings

# In the order in which transformers applies them.
_CLEANED = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


class _NamedToken:
    """An attribute for a special token that has a name of its own; like everything here, it cannot be set."""

    def __init__(self, description: str) -> None:
        self.__doc__ = description

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __set__(self, vocabulary: Vocabulary, value: Any) -> NoReturn:
        raise AttributeError(f"{self._name} cannot be set: a loaded tokenizer does not change; load another one")


class _Token(_NamedToken):
    def __get__(self, vocabulary: Vocabulary, owner: type) -> str | None:
        return vocabulary._settings.special_tokens.get(self._name)


class _TokenId(_NamedToken):
    def __get__(self, vocabulary: Vocabulary, owner: type) -> int | None:
        return vocabulary._special_ids.get(self._name.removesuffix("_id"))


class Vocabulary:
    """Tokens and ids of a loaded tokenizer; results as `transformers.PreTrainedTokenizerFast` gives them."""

    is_fast = True

    def __init__(self, backend: RustTokenizer, settings: TokenizerSettings) -> None:
        """Wrap a backend that nothing else changes."""
        self._backend = backend
        self._settings = settings
        unknown = settings.special_tokens.get("unk_token")
        self._unk_id: int | None = None if unknown is None else backend.token_to_id(unknown)
        self._special_ids = {name: self._token_id(token) for name, token in settings.special_tokens.items()}
        tokens = dict.fromkeys([*settings.special_tokens.values(), *settings.extra_special_tokens])
        self._all_special = {token: self._token_id(token) for token in tokens}

    def __len__(self) -> int:
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    def __bool__(self) -> bool:
        return True

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones not counted."""
        return int(self._backend.get_vocab_size(with_added_tokens=False))

    @property
    def model_max_length(self) -> int | None:
        """Longest sequence in tokens, special tokens included; None where the model has no limit."""
        return self._settings.model_max_length

    @property
    def padding_side(self) -> str:
        """ "right" or "left"."""
        return self._settings.padding_side

    @property
    def truncation_side(self) -> str:
        """ "right" or "left"."""
        return self._settings.truncation_side

    @property
    def model_input_names(self) -> list[str]:
        """The arrays that a call returns by default."""
        return list(self._settings.model_input_names)

    @property
    def chat_template(self) -> str | Mapping[str, str] | None:
        """The Jinja program that writes a chat as a prompt, or several by name; None where there is none."""
        return self._settings.chat_template

    @property
    def has_response_template(self) -> bool:
        """Whether what the model answers has parts (reasoning, tool calls) that transformers takes apart."""
        return self._settings.response_template

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """Special token by name, for the names that have one."""
        return dict(self._settings.special_tokens)

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once, named ones first."""
        return list(self._all_special)

    @property
    def all_special_ids(self) -> list[int | None]:
        """The ids of `all_special_tokens`, in the same order."""
        return list(self._all_special.values())

    @property
    def hidden_ids(self) -> frozenset[int]:
        """The ids of special tokens, which `decode` leaves out with `skip_special_tokens`."""
        added = self._backend.get_added_tokens_decoder()
        return frozenset(token_id for token_id, token in added.items() if token.special)

    @property
    def continuing_subword_prefix(self) -> str | None:
        """What marks a token as the continuation of a word ("##"), if the model has such a mark."""
        prefix: str | None = getattr(self._backend.model, "continuing_subword_prefix", None)
        return prefix

    @property
    def decoder_steps(self) -> frozenset[str]:
        """The kinds of steps that turn tokens into text ("ByteLevel", "ByteFallback", "Metaspace" ...)."""
        decoder = self._backend.decoder
        return frozenset() if decoder is None else frozenset(_types(json.loads(decoder.__getstate__())))

    bos_token = _Token("Token at the beginning of a sequence.")
    bos_token_id = _TokenId("Id of `bos_token`.")
    eos_token = _Token("Token at the end of a sequence.")
    eos_token_id = _TokenId("Id of `eos_token`.")
    unk_token = _Token("Token that stands for what the vocabulary does not have.")
    unk_token_id = _TokenId("Id of `unk_token`.")
    sep_token = _Token("Token between and after texts.")
    sep_token_id = _TokenId("Id of `sep_token`.")
    pad_token = _Token("Token that fills rows up.")
    pad_token_id = _TokenId("Id of `pad_token`.")
    cls_token = _Token("Token that stands for the sequence in classification.")
    cls_token_id = _TokenId("Id of `cls_token`.")
    mask_token = _Token("Token that stands for a word to be guessed.")
    mask_token_id = _TokenId("Id of `mask_token`.")

    def get_vocab(self) -> dict[str, int]:
        """Id by token, added tokens included."""
        return dict(self._backend.get_vocab(with_added_tokens=True))

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Number of special tokens that a call adds to a text, or to a pair of texts."""
        return int(self._backend.num_special_tokens_to_add(pair))

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int | None: ...
    @overload
    def convert_tokens_to_ids(self, tokens: list[str] | tuple[str, ...]) -> list[int | None]: ...
    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> int | list[int | None] | None:
        """Ids of one token or of several; the unknown token's id (or None) for what the vocabulary does not have."""
        if isinstance(tokens, str):
            return self._token_id(tokens)
        if not isinstance(tokens, list | tuple):
            raise InputError(f"tokens are {tokens!r:.80}, expected a token or a list of tokens.")
        return [self._token_id(token) for token in tokens]

    @overload
    def convert_ids_to_tokens(self, ids: int, skip_special_tokens: bool = False) -> str | None: ...
    @overload
    def convert_ids_to_tokens(
        self, ids: Sequence[int] | np.ndarray[Any, Any], skip_special_tokens: bool = False
    ) -> list[str | None]: ...
    def convert_ids_to_tokens(
        self, ids: int | Sequence[int] | np.ndarray[Any, Any], skip_special_tokens: bool = False
    ) -> str | list[str | None] | None:
        """Tokens of one id or of several; None for an id outside the vocabulary."""
        if isinstance(ids, Integral):
            token: str | None = self._backend.id_to_token(_one_id(ids))
            return token
        skipped = set(self._all_special.values()) if skip_special_tokens else ()
        return [self._backend.id_to_token(token_id) for token_id in _ids(ids) if token_id not in skipped]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Join tokens into text."""
        if not isinstance(tokens, list | tuple) or not all(isinstance(token, str) for token in tokens):
            raise InputError(f"tokens are {tokens!r:.80}, expected a list of tokens.")
        decoder = self._backend.decoder
        try:
            with convert_panics("the tokenizer"):
                return " ".join(tokens) if decoder is None else str(decoder.decode(list(tokens)))
        except UnicodeEncodeError as error:
            raise InputError(f"a token holds a lone surrogate, which is not valid Unicode: {error}.") from error

    @overload
    def decode(
        self,
        token_ids: int | Sequence[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str: ...
    @overload
    def decode(
        self,
        token_ids: Sequence[Sequence[int]],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]: ...
    @overload
    def decode(
        self,
        token_ids: np.ndarray[Any, Any] | Mapping[str, Any],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str | list[str]: ...
    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str | list[str]:
        """Turn ids into text.

        Args:
            token_ids: One id, a sequence of ids, or a batch of sequences: lists or integer arrays of shape
                [tokens] or [batch, tokens]. Ids outside the vocabulary are left out.
            skip_special_tokens: Whether to leave special tokens out.
            clean_up_tokenization_spaces: Whether to take out blanks before punctuation; None for the tokenizer's
                own way. Byte-pair tokenizers keep their blanks, as in transformers.

        Returns:
            The text, or for a batch a list of texts.

        Raises:
            InputError: `token_ids` are not ids.
        """
        if isinstance(token_ids, Mapping):
            token_ids = token_ids.get("input_ids")
        if isinstance(token_ids, np.ndarray):
            token_ids = token_ids.tolist()
        batched = isinstance(token_ids, list | tuple) and len(token_ids) > 0
        if batched and isinstance(token_ids[0], list | tuple | np.ndarray):
            return [self._decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in token_ids]
        return self._decode(token_ids, skip_special_tokens, clean_up_tokenization_spaces)

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """Turn sequences of ids into texts; see `decode`. One sequence gives a list too, and none an empty one."""
        if isinstance(sequences, list | tuple | np.ndarray) and len(sequences) == 0:
            return []
        texts = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces)
        return [texts] if isinstance(texts, str) else texts

    def _decode(self, token_ids: Any, skip_special_tokens: bool, clean_up: bool | None) -> str:
        ids = [_one_id(token_ids)] if isinstance(token_ids, Integral) else _ids(token_ids)
        with convert_panics("the tokenizer"):
            text = str(self._backend.decode(ids, skip_special_tokens=skip_special_tokens))
        return self.clean_up(text) if self.cleans_up(clean_up) else text

    def cleans_up(self, clean_up_tokenization_spaces: bool | None = None) -> bool:
        """Whether `decode` takes out blanks before punctuation when it is given this."""
        wanted = clean_up_tokenization_spaces
        wanted = self._settings.clean_up_tokenization_spaces if wanted is None else wanted
        return wanted and (self._settings.clean_up_bpe or type(self._backend.model).__name__ != "BPE")

    def clean_up(self, text: str) -> str:
        """Take out blanks before punctuation and the endings of contractions."""
        for spaced, joined in _CLEANED:
            text = text.replace(spaced, joined)
        return text

    def _token_id(self, token: Any) -> int | None:
        if not isinstance(token, str):
            raise InputError(f"{token!r:.80} is not a token, expected text.")
        try:
            token_id: int | None = self._backend.token_to_id(token)
        except UnicodeEncodeError:  # a lone surrogate: no vocabulary has it
            token_id = None
        return self._unk_id if token_id is None else token_id


def _ids(value: Any) -> list[int]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise InputError(f"token ids are {value!r:.80}, expected integers or a list or array of them.")
    return [_one_id(item) for item in value]


def _one_id(value: Any) -> int:
    if is_whole(value) and value < 2**32:
        return int(value)
    raise InputError(f"{value!r:.80} is not a token id, expected a whole number that is not negative.")


def _types(state: Any) -> Iterator[str]:
    if isinstance(state, Mapping):
        if isinstance(state.get("type"), str):
            yield state["type"]
        state = list(state.values())
    if isinstance(state, list):
        for each in state:
            yield from _types(each)
