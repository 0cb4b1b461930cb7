"""Tokenizers of many languages: a text's ids in each are those of transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import processors
from transformers import AutoTokenizer

from edgepipe import Tokenizer
from edgepipe.errors import InputError
from tests.golden.cases import TEXTS
from tests.tiny import TOKENIZERS

LANGUAGES = {"mbart": ("en_XX", "fr_XX", "zh_CN"), "nllb": ("eng_Latn", "fra_Latn", "zho_Hans")}


@pytest.mark.parametrize("family", LANGUAGES)
def test_ids_are_those_of_transformers(family: str) -> None:
    ours, reference = Tokenizer.from_pretrained(TOKENIZERS / family), AutoTokenizer.from_pretrained(TOKENIZERS / family)
    assert ours.language == LANGUAGES[family][0]
    texts = list(TEXTS.values())
    for code in LANGUAGES[family]:
        reference.src_lang = code
        other = ours.for_language(code)
        assert other.language == code
        assert other(texts)["input_ids"] == reference(texts)["input_ids"]
        assert other("a", "b")["input_ids"] == reference("a", "b")["input_ids"]
        assert (
            other("a", truncation=True, max_length=2)["input_ids"]
            == reference("a", truncation=True, max_length=2)["input_ids"]
        )
    assert ours.language == LANGUAGES[family][0]  # nothing about a tokenizer changes


def test_codes_within_underscores(tmp_path: Path) -> None:
    """M2M-100 writes the token of the language en as __en__."""
    backend = RustTokenizer.from_file(str(TOKENIZERS / "nllb" / "tokenizer.json"))
    backend.add_special_tokens(["__en__", "__fr__"])
    ids = {token: backend.token_to_id(token) for token in ("__en__", "</s>")}
    backend.post_processor = processors.TemplateProcessing(
        single="__en__ $A </s>", pair="__en__ $A $B </s>", special_tokens=list(ids.items())
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    config = {"eos_token": "</s>", "additional_special_tokens": ["__en__", "__fr__"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    ours = Tokenizer.from_pretrained(tmp_path)
    assert ours.language == "__en__"
    assert ours.for_language("fr")("a").tokens()[0] == "__fr__"
    with pytest.raises(InputError, match=r"language is 'fe', .* it has 2, e.g. en, fr"):
        ours.for_language("fe")


@pytest.mark.parametrize("code", ["fr", "<s>", "house", "", None, 5])
def test_languages_that_there_are_not(code: object) -> None:
    with pytest.raises(InputError, match=r"src_lang is .*, a language that the tokenizer lacks; it has 25, e.g. "):
        Tokenizer.from_pretrained(TOKENIZERS / "mbart").for_language(code, "src_lang")


@pytest.mark.parametrize("family", ["t5", "gpt2", "bert", "roberta", "albert", "xlm-roberta", "modernbert"])
def test_tokenizers_of_one_language(family: str) -> None:
    ours = Tokenizer.from_pretrained(TOKENIZERS / family)
    assert ours.language is None
    with pytest.raises(InputError, match="one of a single language"):
        ours.for_language("en")
