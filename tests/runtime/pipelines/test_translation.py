"""Translation: the languages of a call, of a task's name and of a checkpoint's config."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgepipe.errors import InputError, TaskError
from edgepipe.pipelines.registry import task_class
from tests.golden.prove_generation import built, loaded
from tests.golden.suites.text_generation import PLAIN


@pytest.fixture(scope="module")
def translator() -> Any:
    return loaded("translation", *built("translation", "mbart", "plain"))


def test_the_target_is_forced_and_the_source_has_its_tokens(translator: Any) -> None:
    tokenizer = translator.tokenizer
    for source, target in (("en_XX", "fr_XX"), ("zh_CN", "de_DE")):
        settings = translator.settings({"src_lang": source, "tgt_lang": target})
        assert settings.generation.forced_bos_token_id == tokenizer.convert_tokens_to_ids(target)
        [piece] = translator.encode(PLAIN, settings).pieces
        assert tokenizer.convert_tokens_to_ids(source) in piece["input_ids"]
        assert tokenizer.convert_tokens_to_ids(target) not in piece["input_ids"]


def test_the_tokenizer_of_a_language_is_made_once(translator: Any) -> None:
    first, second, third = (
        translator.settings({"src_lang": source, "tgt_lang": "fr_XX"}).source for source in ("en_XX", "zh_CN", "en_XX")
    )
    assert first is third
    assert first is not second


def test_options_when_made_hold_at_every_call(translator: Any) -> None:
    languages = {"src_lang": "en_XX", "tgt_lang": "fr_XX"}
    fixed = loaded("translation", *built("translation", "mbart", "plain"), **languages)
    assert fixed(PLAIN, max_new_tokens=4) == translator(PLAIN, max_new_tokens=4, **languages)


def test_a_model_of_many_languages_has_no_prefix(translator: Any) -> None:
    settings = translator.settings({"src_lang": "en_XX", "tgt_lang": "fr_XX"})
    model, tokenizer = built("translation", "mbart", "plain")
    prefixed = loaded("translation", model, tokenizer)
    prefixed.decoder.config = {**prefixed.decoder.config, "prefix": "translate: "}
    assert prefixed.encode(PLAIN, settings).pieces == translator.encode(PLAIN, settings).pieces


def test_the_first_translation_of_the_config_gives_the_prefix() -> None:
    pipe = loaded("translation", *built("translation", "t5", "params of the task"))
    assert pipe.params_name == "translation_en_to_fr"
    assert pipe.prefix == "translate English to French: "
    unknown = loaded("translation", *built("translation", "t5", "plain"))
    assert (unknown.params_name, unknown.prefix) == ("translation", "")


def test_a_translation_is_streamed(translator: Any) -> None:
    options = {"src_lang": "en_XX", "tgt_lang": "fr_XX", "num_beams": 1, "max_new_tokens": 12}
    assert "".join(translator.stream(PLAIN, **options)) == translator(PLAIN, **options)[0]["translation_text"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "pass src_lang= and tgt_lang=, e.g. 'en_XX'"),
        ({"src_lang": "en_XX"}, "pass src_lang= and tgt_lang="),
        ({"src_lang": "en", "tgt_lang": "fr_XX"}, "src_lang is 'en', a language that the tokenizer lacks; it has 25"),
        ({"src_lang": "en_XX", "tgt_lang": "fr"}, "tgt_lang is 'fr', a language that the tokenizer lacks"),
    ],
)
def test_languages_that_are_missing(translator: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        translator(PLAIN, **options)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (5, {}, "expected a text, got int 5"),
        ([PLAIN, None], {}, "input 1: expected a text, got NoneType"),
        (PLAIN, {"tgt_langs": "x"}, "did you mean 'tgt_lang'"),
        (PLAIN, {"stop_sequence": 5}, "stop_sequence must be a text, got 5"),
        (PLAIN, {"return_tensors": "np"}, "return_tensors must be True or False, got 'np'"),
        (PLAIN, {"src_lang": np.ones(2)}, r"src_lang is array\(\[1., 1.\]\), a language that the tokenizer lacks"),
    ],
)
def test_what_cannot_be_translated(translator: Any, text: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        translator(text, **{"src_lang": "en_XX", "tgt_lang": "fr_XX", "max_new_tokens": 4} | options)


def test_the_name_of_a_translation_says_its_languages() -> None:
    model, tokenizer = built("translation", "t5", "params of the task")
    [named] = loaded("translation_en_to_fr", model, tokenizer)(PLAIN, max_new_tokens=8)
    assert [named] == loaded("translation", model, tokenizer)(
        PLAIN, max_new_tokens=8
    )  # the first that the config names
    assert [named] != loaded("translation_en_to_de", model, tokenizer)(PLAIN, max_new_tokens=8)
    with pytest.raises(InputError, match="src_lang is 'en', a language that the tokenizer lacks"):
        loaded("translation_en_to_fr", *built("translation", "mbart", "plain"))
    with pytest.raises(TaskError, match="unknown task 'translation_en'"):
        task_class("translation_en")
