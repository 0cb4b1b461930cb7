"""Translation: a text in another language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from edgepipe.errors import InputError
from edgepipe.pipelines.base import Request
from edgepipe.pipelines.generative import GenerationSettings
from edgepipe.pipelines.text2text_generation import Text2TextGeneration
from edgepipe.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TranslationSettings(GenerationSettings):
    """Checked options.

    Attributes:
        source: The tokenizer for texts in the language that is translated from; None where that is not known.
    """

    source: Tokenizer | None


class Translation(Text2TextGeneration):
    """Translations, as transformers 4.57's ``TranslationPipeline`` gives them.

    Options: those of text-to-text generation, and ``src_lang`` and ``tgt_lang``, which models of many languages (mBART,
    NLLB, M2M-100) need; a task's name ``translation_xx_to_yy`` says them as well. Models of two languages pass over
    them. A checkpoint that knows several translations (T5) does the first that its config names, unless the task's
    name says another.

    Results have ``translation_text`` or ``translation_token_ids``.
    """

    name = "translation"
    own_options = (*Text2TextGeneration.own_options, "src_lang", "tgt_lang")
    result_name = "translation"

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
            source=source,
        )

    def _languages(self, options: Mapping[str, Any]) -> tuple[Any, Any]:
        given = options.get("src_lang"), options.get("tgt_lang")
        if given == (None, None) and "_" in self.params_name:
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
