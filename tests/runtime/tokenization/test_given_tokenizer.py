"""Tokenizers that stand in for a bundle's own: results are those of transformers with the same tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import AutoTokenizer

from edgepipe import Tokenizer, pipeline
from edgepipe.errors import InputError
from edgepipe.tokenization.given_tokenizer import read_given_tokenizer
from tests.tiny import TOKENIZERS

TEXT = "I love THIS, my friend!"


def test_a_pipeline_with_another_tokenizer(tiny_export: Any) -> None:
    made = tiny_export("bert")
    cased = AutoTokenizer.from_pretrained(TOKENIZERS / "bert", do_lower_case=False, model_max_length=7)
    reference = transformers.pipeline("text-classification", model=made.model, tokenizer=cased, device="cpu")
    expected = reference(TEXT, top_k=None, truncation=True)
    own = pipeline(model=made.bundle)(TEXT, top_k=None)
    for given in (cased, read_given_tokenizer(cased, None)):
        found = pipeline(model=made.bundle, tokenizer=given)(TEXT, top_k=None, truncation=True)
        assert [each["label"] for each in found] == [each["label"] for each in expected]
        scores = [each["score"] for each in found]
        assert scores == pytest.approx([each["score"] for each in expected], abs=1e-4)
        assert scores != pytest.approx([each["score"] for each in own], abs=1e-3)


@pytest.mark.parametrize("name", ["bert", "llama", "albert"])
def test_an_object_of_transformers_is_read_as_it_is(name: str) -> None:
    theirs = AutoTokenizer.from_pretrained(TOKENIZERS / name, padding_side="left", truncation_side="left")
    theirs.add_tokens(["THIS"])
    ours = read_given_tokenizer(theirs, None)
    for options in ({}, {"truncation": True, "max_length": 6}, {"padding": "max_length", "max_length": 24}):
        if options.get("padding") and theirs.pad_token is None:
            continue
        assert dict(ours(TEXT, **options)) == dict(theirs(TEXT, **options))


def test_a_directory_or_a_tokenizer_of_ours(tmp_path: Path) -> None:
    AutoTokenizer.from_pretrained(TOKENIZERS / "bert").save_pretrained(tmp_path)
    own = Tokenizer.from_pretrained(tmp_path)
    assert read_given_tokenizer(own, len(own)) is own
    assert read_given_tokenizer(str(tmp_path), len(own))(TEXT) == own(TEXT)


def test_tokens_that_the_model_does_not_know(tmp_path: Path) -> None:
    theirs = AutoTokenizer.from_pretrained(TOKENIZERS / "bert")
    known = len(theirs)
    theirs.add_tokens(["THIS"])
    with pytest.raises(InputError, match=f"has the id {known}, and the model has embeddings for {known} tokens"):
        read_given_tokenizer(theirs, known)


@pytest.mark.parametrize("given", [3, "nowhere", Path("/nowhere")])
def test_what_is_no_tokenizer(given: Any) -> None:
    with pytest.raises(InputError, match=r"tokenizer must be an edgepipe\.Tokenizer, a directory"):
        read_given_tokenizer(given, None)
