"""Translation: a text in another language."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from edgepipe.errors import InputError
from edgepipe.pipelines.base import Request, Result
from edgepipe.pipelines.generative import GenerationSettings
from edgepipe.pipelines.text2text_generation import Text2TextGeneration, TokenIds
from edgepipe.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from edgepipe.pipelines.task_options import CallTranslation, TranslationOptions


@dataclass(frozen=True, slots=True)
class TranslationSettings(GenerationSettings):
    """Checked options.

    Attributes:
        source: The tokenizer for texts in the language that is translated from; None where that is not known.
    """

    source: Tokenizer | None


class Translation(Text2TextGeneration[Result, TokenIds]):
    """Translations, as transformers 4.57's ``TranslationPipeline`` gives them.

    ::

        translate = pipeline("translation", "path/to/bundle", src_lang="eng_Latn", tgt_lang="fra_Latn")
        translate("Where is the station?")  # [{"translation_text": "..."}]

    Options are those of text-to-text generation, and ``src_lang`` and ``tgt_lang``, which models of many languages
    (mBART, NLLB, M2M-100) need; a task's name ``translation_xx_to_yy`` says them as well. Models of two languages pass
    over them. A checkpoint that knows several translations (T5) does the first that its config names, unless the
    task's name says another.

    Results have ``translation_text`` or ``translation_token_ids``.
    """

    name = "translation"
    own_options = (*Text2TextGeneration.own_options, "src_lang", "tgt_lang")
    result_name = "translation"

    @overload
    def __call__(
        self,
        inputs: str,
        *,
        return_tensors: Literal[True],
        num_return_sequences: int | None = ...,
        **options: Unpack[CallTranslation],
    ) -> list[TokenIds]: ...
    @overload
    def __call__(
        self,
        inputs: list[str] | tuple[str, ...],
        *,
        return_tensors: Literal[True],
        **options: Unpack[CallTranslation],
    ) -> list[TokenIds]: ...
    @overload
    def __call__(
        self,
        inputs: Iterator[str],
        *,
        return_tensors: Literal[True],
        num_return_sequences: int | None = ...,
        **options: Unpack[CallTranslation],
    ) -> Iterator[list[TokenIds]]: ...
    @overload
    def __call__(
        self,
        inputs: str,
        *,
        return_tensors: Literal[False] | None = ...,
        num_return_sequences: int | None = ...,
        **options: Unpack[CallTranslation],
    ) -> list[Result]: ...
    @overload
    def __call__(
        self,
        inputs: list[str] | tuple[str, ...],
        *,
        return_tensors: Literal[False] | None = ...,
        **options: Unpack[CallTranslation],
    ) -> list[Result]: ...
    @overload
    def __call__(
        self,
        inputs: list[str] | tuple[str, ...],
        *,
        return_tensors: bool | None = ...,
        num_return_sequences: int,
        **options: Unpack[CallTranslation],
    ) -> list[Result] | list[list[Result]]: ...
    @overload
    def __call__(
        self,
        inputs: Iterator[str],
        *,
        return_tensors: Literal[False] | None = ...,
        num_return_sequences: int | None = ...,
        **options: Unpack[CallTranslation],
    ) -> Iterator[list[Result]]: ...
    def __call__(self, inputs: Any, *, batch_size: int | None = None, progress: bool = False, **options: Any) -> Any:
        """Translate texts; see text2text-generation for inputs, further options, results and errors.

        Args:
            inputs: A text, or a list or iterator of them.
            batch_size: How many texts go through the model at once; by default the pipeline's own.
            progress: Whether to count the results of a list or iterator on standard error. Needs ``tqdm``.
            **options: Those of text-to-text generation, and these:
                ``src_lang``, ``tgt_lang``: the languages, under the codes of the tokenizer.
        """
        return super().__call__(inputs, batch_size=batch_size, progress=progress, **options)

    def stream(self, prompt: str, **options: Unpack[TranslationOptions]) -> Generator[str, None, None]:
        """Translate a text, and give each piece as soon as it is whole; see text2text-generation."""
        return self._stream(prompt, options)

    def settings(self, options: Mapping[str, Any]) -> TranslationSettings:
        """Check the options; see :meth:`Task.settings`."""
        general = super().settings(options)
        source: Tokenizer | None = self.tokenizer
        generation = general.generation
        if self.tokenizer.language is not None:
            src_lang, tgt_lang = self._languages(options)
            source = None if src_lang is None or tgt_lang is None else self._source(src_lang)
            if tgt_lang is not None:
                target = self.tokenizer.convert_tokens_to_ids(self.tokenizer.language_token(tgt_lang, "tgt_lang"))
                assert isinstance(target, int)  # one token has one id
                generation = replace(generation, forced_bos_token_id=target)
        return TranslationSettings(
            tokenizer=general.tokenizer,
            generation=generation,
            tensors=general.tensors,
            clean_up=general.clean_up,
            skip_special_tokens=general.skip_special_tokens,
            streamer=general.streamer,
            assistant=None,
            source=source,
        )

    def _languages(self, options: Mapping[str, Any]) -> tuple[Any, Any]:
        given = options.get("src_lang"), options.get("tgt_lang")
        if all(each is None for each in given) and "_" in self.params_name:
            _, source, _, target = self.params_name.split("_")
            return source, target
        return given

    @property
    def params_name(self) -> str:
        """The task's name; where it names no languages, the first translation that the config knows."""
        known = (name for name in self.params_of_config if name.startswith("translation_"))
        return self.name if "_" in self.name else next(known, self.name)

    def _source(self, src_lang: Any) -> Tokenizer:
        token = self.tokenizer.language_token(src_lang, "src_lang")
        if token not in self._sources:
            self._sources[token] = self.tokenizer.for_language(src_lang, "src_lang")
        return self._sources[token]

    @cached_property
    def _sources(self) -> dict[str, Tokenizer]:
        """Tokenizers by the token of their source language."""
        return {}

    def encode(self, item: Any, settings: Any) -> Request:
        """Token ids of one text; see :meth:`Task.encode`."""
        if settings.source is None:
            raise InputError(
                "the model knows many languages: pass src_lang= and tgt_lang=, e.g. "
                f"{self.tokenizer.language!r} for the one"
            )
        # In models of many languages the language stands in the place of a prefix.
        prefix = self.prefix if self.tokenizer.language is None else ""
        return self.request(item, prefix, settings.source, settings)
