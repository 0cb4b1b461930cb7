"""Text to token ids and back, as the tokenizers of transformers do it, for many threads at once.

A call goes through these stages: settle what is to be done about lengths (`padding.resolve_lengths`); sort texts,
pairs and words into rows; encode them, truncated where asked (`truncation.Truncators`); pad the rows; lay out the
results as lists or arrays.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, overload

from tokenizers import Encoding, normalizers
from tokenizers import Tokenizer as RustTokenizer

from edgepipe.arguments import check_flag, is_one_of
from edgepipe.bundle.containment import require_contained
from edgepipe.bundle.folder_state import read_unchanged
from edgepipe.errors import BundleError, InputError, convert_panics, is_from_rust
from edgepipe.tokenization.batch_encoding import BatchEncoding
from edgepipe.tokenization.languages import find_language, find_language_token, set_language
from edgepipe.tokenization.loading import TokenizerSettings, load_tokenizer_files
from edgepipe.tokenization.padding import check_count, check_side, pad_values, resolve_lengths, stack, target_length
from edgepipe.tokenization.text_inputs import text_rows
from edgepipe.tokenization.truncation import Truncators, is_long_pair, is_pair, share_model
from edgepipe.tokenization.vocabulary import Vocabulary

_SURROGATE = re.compile("[\ud800-\udfff]")
Text = str | Sequence[str]


class Tokenizer(Vocabulary):
    """A tokenizer read from a directory; call it as a tokenizer of transformers is called.

    Nothing about a tokenizer changes once it is loaded, so one serves any number of threads.

    Results are those of ``transformers.AutoTokenizer`` (5.23) on the same directory, except that these raise
    `InputError` or succeed where transformers does something nobody asked for:

    - an empty batch gives an empty result (transformers: IndexError);
    - a `max_length` below the number of special tokens is refused (transformers: no truncation at all);
    - rows of different lengths with ``return_tensors="np"`` are refused (transformers: an array of objects);
    - `pad` wants a padding token only where a row is to be padded (transformers: always).
    """

    def __init__(self, backend: RustTokenizer, settings: TokenizerSettings) -> None:
        """Wrap a backend that nothing else changes; most callers want `from_pretrained`."""
        super().__init__(backend, settings)
        self._truncators = Truncators(backend, settings.truncation_side)

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *,
        pad_token: str | None = None,
        padding_side: Literal["right", "left"] | None = None,
        truncation_side: Literal["right", "left"] | None = None,
        model_max_length: int | None = None,
    ) -> Self:
        """Load the tokenizer of a directory.

        Args:
            path: A local directory with ``tokenizer.json`` and ``tokenizer_config.json``.
            pad_token: Token to pad with, in place of the directory's.
            padding_side: Side to pad on, in place of the directory's.
            truncation_side: Side to cut on, in place of the directory's.
            model_max_length: Longest sequence in tokens, in place of the directory's.

        Raises:
            BundleError: A file is missing or damaged, or leads out of the directory.
            InputError: An argument has a value that cannot be used.
        """
        check_side(padding_side)
        check_side(truncation_side, "truncation_side")
        if model_max_length is not None:
            check_count("model_max_length", model_max_length, least=1)
        if pad_token is not None and not isinstance(pad_token, str):
            raise InputError(f"pad_token is {pad_token!r}, expected a token.")
        overrides = {
            "pad_token": pad_token,
            "padding_side": padding_side,
            "truncation_side": truncation_side,
            "model_max_length": model_max_length,
        }
        given = {name: value for name, value in overrides.items() if value is not None}
        folder = Path(path)
        require_contained(folder)
        return read_unchanged(lambda state: cls(*load_tokenizer_files(folder, given)), folder)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the whole tokenizer: some megabytes, and no path."""
        settings = {each.name: getattr(self._settings, each.name) for each in fields(self._settings)}
        plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in settings.items()}
        return _restore, (type(self), self._backend.to_str(), plain)

    def with_lower_case(self) -> Self:
        """The same tokenizer, with texts lower-cased before its own normalizer sees them."""
        backend = share_model(self._backend)
        own = backend.normalizer
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([] if own is None else [own])])
        return type(self)(backend, self._settings)

    def with_truncation_side(self, side: Literal["right", "left"]) -> Self:
        """The same tokenizer, which cuts texts on another side."""
        check_side(side, "truncation_side")
        return type(self)(self._backend, replace(self._settings, truncation_side=side))

    @cached_property
    def language(self) -> str | None:
        """The token of the language that texts are taken to be in; None for a tokenizer of one language."""
        return find_language_token(self._backend, self._settings)

    def language_token(self, code: Any, option: str = "language") -> str:
        """The token of a language by its code, e.g. ``fr_XX`` (mBART), ``fra_Latn`` (NLLB), ``fr`` (M2M-100).

        Raises:
            InputError: the tokenizer lacks the language; `option` is what the message calls it.
        """
        return find_language(code, option, self._backend, self._settings)

    def for_language(self, code: Any, option: str = "language") -> Self:
        """The same tokenizer for texts in another language.

        Raises:
            InputError: the tokenizer lacks the language, or is one of a single language.
        """
        if self.language is None:
            raise InputError(f"{option} is {code!r}, but the tokenizer is one of a single language")
        backend = share_model(self._backend)
        set_language(self._backend, self.language, self.language_token(code, option), backend)
        return type(self)(backend, self._settings)

    @overload
    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, Any]],
        tools: Sequence[Any] | None = ...,
        documents: Sequence[Any] | None = ...,
        chat_template: str | None = ...,
        add_generation_prompt: bool = ...,
        continue_final_message: bool | str = ...,
        *,
        tokenize: Literal[False],
        tokenizer_kwargs: Mapping[str, Any] | None = ...,
        **variables: Any,
    ) -> str: ...
    @overload
    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, Any]],
        tools: Sequence[Any] | None = ...,
        documents: Sequence[Any] | None = ...,
        chat_template: str | None = ...,
        add_generation_prompt: bool = ...,
        continue_final_message: bool | str = ...,
        tokenize: Literal[True] = ...,
        tokenizer_kwargs: Mapping[str, Any] | None = ...,
        **variables: Any,
    ) -> BatchEncoding: ...
    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, Any]],
        tools: Sequence[Any] | None = None,
        documents: Sequence[Any] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        tokenize: bool = True,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> str | BatchEncoding:
        """Write a chat as a prompt. Needs the extra `chat`.

        Args:
            conversation: Dicts with ``role`` and ``content``, the oldest first.
            tools: JSON schemas of functions, for templates that know tools.
            documents: Dicts with ``title`` and ``text``, for templates that know documents.
            chat_template: A template, or the name of one, in place of the tokenizer's.
            add_generation_prompt: Whether to begin the model's answer.
            continue_final_message: Whether the model is to go on with the last message, or the field to go on with.
            tokenize: Whether to encode the prompt; else its text is returned.
            tokenizer_kwargs: Arguments of the call that encodes it.
            **variables: What else the template sees.

        Raises:
            InputError: there is no template, or it does not take the chat.
            DependencyError: jinja2 is missing.
        """
        from edgepipe.tokenization.chat_template import render, select_template

        text = render(
            select_template(self.chat_template, chat_template, tools=tools is not None),
            conversation,
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            **{**self.special_tokens_map, **variables},
        )
        # The template writes the special tokens itself.
        return self(text, add_special_tokens=False, **(tokenizer_kwargs or {})) if tokenize else text

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocabulary of {len(self)}, model_max_length={self.model_max_length})"

    def __call__(
        self,
        text: Text | Sequence[Text] | None = None,
        text_pair: Text | Sequence[Text] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
    ) -> BatchEncoding:
        """Encode a text, a pair of texts, or a batch of either.

        Args:
            text: A text, or a batch of texts or of pairs. With `is_split_into_words` a text is a list of words.
            text_pair: The second text of a pair, or a batch of them as long as `text`.
            add_special_tokens: Whether to add the tokens that the model expects around a text.
            padding: False, True or "longest" (of the batch), "max_length", "do_not_pad".
            truncation: False, True or "longest_first", "only_first", "only_second", "do_not_truncate". None is
                False, unless `max_length` is given without `padding`: then it is "longest_first".
            max_length: Length in tokens to cut or pad to; the model's own limit if None.
            stride: Tokens that each overflowing piece repeats from the piece before.
            is_split_into_words: Whether texts are lists of words.
            pad_to_multiple_of: Round the padded length up to a multiple of this.
            padding_side: "right" or "left"; the tokenizer's own side if None.
            return_tensors: "np" for int64 arrays; lists if None.
            return_token_type_ids: Whether to return them; None for what the model reads.
            return_attention_mask: Whether to return it; None for what the model reads.
            return_overflowing_tokens: Whether what is cut off becomes further rows; `overflow_to_sample_mapping`
                then says which text a row comes from, and one text, too, gives a list of rows.
            return_special_tokens_mask: Whether to return 1 for special tokens and padding, 0 for text.
            return_offsets_mapping: Whether to return each token's start and end in its text, in characters.
            return_length: Whether to return the number of tokens of each row, padding included.

        Returns:
            ``input_ids`` and whatever else was asked for: a list for a single text, a list of lists for a batch,
            arrays of shape [batch, tokens] with ``return_tensors="np"``.

        Raises:
            InputError: The input is not text, holds lone surrogates, or the options cannot be followed.
        """
        if not is_one_of(return_tensors, (None, "np")):
            raise InputError(f"return_tensors is {return_tensors!r}, expected 'np' or None (lists).")
        check_flag("add_special_tokens", add_special_tokens)
        check_flag("is_split_into_words", is_split_into_words)
        check_flag("return_overflowing_tokens", return_overflowing_tokens)
        check_flag("return_special_tokens_mask", return_special_tokens_mask)
        check_flag("return_offsets_mapping", return_offsets_mapping)
        check_flag("return_length", return_length)
        for name, value in (("token_type_ids", return_token_type_ids), ("attention_mask", return_attention_mask)):
            if value is not None:
                check_flag(f"return_{name}", value)
        lengths = resolve_lengths(self._settings, padding, truncation, max_length, pad_to_multiple_of)
        check_count("stride", stride, least=0)
        check_side(padding_side)
        items, batched = text_rows(text, text_pair, is_split_into_words)

        backend = self._backend
        long: set[int] = set()
        if lengths.truncation is not None and lengths.max_length is not None:
            self._truncators.check_room(
                items,
                strategy=lengths.truncation,
                max_length=lengths.max_length,
                stride=stride,
                add_special_tokens=add_special_tokens,
                is_pretokenized=is_split_into_words,
            )
            backend = self._truncators.get(lengths.truncation, lengths.max_length, stride)
            if lengths.truncation == "longest_first" and not return_overflowing_tokens:
                long = {
                    index
                    for index, item in enumerate(items)
                    if is_long_pair(item, lengths.max_length, is_split_into_words)
                }
        with _explain_errors(items):
            short = [item for index, item in enumerate(items) if index not in long] if long else items
            encodings = _encode(backend, short, is_split_into_words, add_special_tokens)
            for index in sorted(long):
                cut = self._truncators.cut_pair(
                    items[index],
                    lengths.max_length or 0,
                    add_special_tokens=add_special_tokens,
                    is_pretokenized=is_split_into_words,
                )
                encodings.insert(index, cut)

        if lengths.padding is not None and encodings:
            target = target_length(max(len(encoding) for encoding in encodings), lengths, pad_to_multiple_of)
            for encoding in encodings:
                encoding.pad(
                    target,
                    direction=padding_side or self._settings.padding_side,
                    pad_id=self.pad_token_id,
                    pad_token=self.pad_token,
                )
        sources: list[int] = []
        if return_overflowing_tokens:
            pieces = [[encoding, *encoding.overflowing] for encoding in encodings]
            sources = [index for index, piece in enumerate(pieces) for _ in piece]
            encodings = [encoding for piece in pieces for encoding in piece]

        names = self._settings.model_input_names
        values: dict[str, list[Any]] = {"input_ids": [encoding.ids for encoding in encodings]}
        if "token_type_ids" in names if return_token_type_ids is None else return_token_type_ids:
            values["token_type_ids"] = [encoding.type_ids for encoding in encodings]
        if "attention_mask" in names if return_attention_mask is None else return_attention_mask:
            values["attention_mask"] = [encoding.attention_mask for encoding in encodings]
        if return_special_tokens_mask:
            values["special_tokens_mask"] = [encoding.special_tokens_mask for encoding in encodings]
        if return_offsets_mapping:
            values["offset_mapping"] = [encoding.offsets for encoding in encodings]
        if return_length:
            values["length"] = [len(encoding) for encoding in encodings]
        if return_overflowing_tokens:
            values["overflow_to_sample_mapping"] = sources
        if return_tensors == "np":
            return BatchEncoding({name: stack(name, rows) for name, rows in values.items()}, encodings)
        if batched or return_overflowing_tokens:
            return BatchEncoding(values, encodings)
        return BatchEncoding({name: rows if name == "length" else rows[0] for name, rows in values.items()}, encodings)

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        *,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Pad what is already encoded.

        Args:
            encoded_inputs: An encoding of one text or of a batch, or a list of encodings of one text each.
            padding: As in a call; True pads to the longest row.
            max_length: Length to pad to with ``padding="max_length"``; the model's own limit if None.
            pad_to_multiple_of: Round the padded length up to a multiple of this.
            padding_side: "right" or "left"; the tokenizer's own side if None.
            return_attention_mask: Whether to make one if there is none; None for what the model reads.
            return_tensors: "np" for int64 arrays of shape [batch, tokens]; if None, arrays for arrays and lists
                for lists.

        Raises:
            InputError: No token ids, columns of different sizes, or padding without a padding token.
        """
        if not is_one_of(return_tensors, (None, "np")):
            raise InputError(f"return_tensors is {return_tensors!r}, expected 'np' or None.")
        return BatchEncoding(
            pad_values(
                self._settings,
                self.pad_token_id,
                encoded_inputs,
                padding=padding,
                max_length=max_length,
                pad_to_multiple_of=pad_to_multiple_of,
                padding_side=padding_side,
                return_attention_mask=return_attention_mask,
                return_tensors=return_tensors,
            )
        )


def _encode(backend: RustTokenizer, rows: list[Any], words: bool, add_special_tokens: bool) -> list[Encoding]:
    if len(rows) != 1:
        # Threads of its own pay off for a batch only.
        encodings: list[Encoding] = backend.encode_batch(
            rows, is_pretokenized=words, add_special_tokens=add_special_tokens
        )
        return encodings
    text, pair = rows[0] if is_pair(rows[0], words) else (rows[0], None)
    return [backend.encode(text, pair, is_pretokenized=words, add_special_tokens=add_special_tokens)]


@contextmanager
def _explain_errors(rows: Sequence[Any]) -> Iterator[None]:
    """What goes wrong in the Rust code as our errors."""
    try:
        with convert_panics("the tokenizer"):
            yield
    except BundleError:
        raise
    except Exception as error:
        if not is_from_rust(error):  # what a signal's handler raised, e.g. a time limit
            raise
        raise _explain_error(error, rows) from error


def _explain_error(error: Exception, rows: Sequence[Any]) -> InputError:
    """What went wrong in the Rust code, in terms of the input."""
    for index, row in enumerate(rows):
        for text in _texts(row):
            if found := _SURROGATE.search(text):
                where = f"text {index} of the batch" if len(rows) > 1 else "the text"
                return InputError(
                    f"{where} holds a lone surrogate (U+{ord(found[0]):04X}) at character {found.start()}, which "
                    "is not valid Unicode; decode its bytes with the right encoding, or with errors='replace'."
                )
    message = str(error)
    if "Second sequence not provided" in message:
        return InputError(
            "truncation='only_second' was asked for, but a text that is too long has no second text; pass "
            "text_pair, or truncation=True."
        )
    if "too short to respect" in message:
        return InputError(
            "the text that truncation may cut is shorter than what has to go; pass truncation='longest_first' or "
            "a larger max_length."
        )
    return InputError(f"the text cannot be encoded: {message}")


def _texts(row: Any) -> list[str]:
    return [row] if isinstance(row, str) else [text for part in row for text in _texts(part)]


def _restore(kind: type[Tokenizer], backend: str, settings: Mapping[str, Any]) -> Tokenizer:
    rust = RustTokenizer.from_str(backend)
    rust.encode_special_tokens = settings["split_special_tokens"]
    return kind(rust, TokenizerSettings(**settings))
