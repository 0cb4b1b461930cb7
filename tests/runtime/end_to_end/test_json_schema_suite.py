"""Whatever is written under a schema of JSON Schema's own test suite is valid; other schemas are refused.

``json_schema_suite.json`` says where its schemas are from. The validator is ``jsonschema``.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from edgepipe.errors import InputError
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from edgepipe.tokenization.tokenizer import Tokenizer
from tests.runtime.generation.table_decoder import TableDecoder, draw_table
from tests.tiny import TOKENIZERS

pytest.importorskip("llguidance")

CONTENT = json.loads(Path(__file__).with_name("json_schema_suite.json").read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = CONTENT["schemas"]
FILES = sorted({name.rsplit(" ", 1)[0] for name in SCHEMAS})
# How many schemas the engine takes; with another version it may be more.
TAKEN = 167
SEEDS = 3
LENGTH = 100
# A tree that goes on and on.
_LONG = {"ref 11"}
# Whose regular expressions Python cannot read, so that the validator fails, whatever the text.
_NOT_FOR_PYTHON = {"pattern 2", "patternProperties 6"}


@cache
def parts() -> tuple[Tokenizer, TableDecoder]:
    """A tokenizer of some hundred tokens, and a decoder that likes to close what it opens."""
    tokenizer = Tokenizer.from_pretrained(TOKENIZERS / "gpt2")
    table = draw_table(len(tokenizer))
    for token in ('"', "}", "]", ":", ",", "1", "t", str(tokenizer.eos_token)):
        table[:, tokenizer.convert_tokens_to_ids(token)] += 3.0
    return tokenizer, TableDecoder(table)


def write(schema: Any, seed: int) -> list[str]:
    """Texts that are whole, of some that are sampled.

    Raises:
        InputError: the schema is refused.
    """
    tokenizer, decoder = parts()
    options = {"json_schema": schema, "do_sample": True, "seed": seed, "num_return_sequences": SEEDS, "top_k": 0}
    options |= {"max_new_tokens": LENGTH, "eos_token_id": tokenizer.eos_token_id, "temperature": 5.0}
    config = generation_config(decoder, {}, options, tokenizer=tokenizer)
    assert config.constraint is not None
    prompt = np.array([[5, 6, 7]])
    [found] = generate(decoder, prompt, np.ones_like(prompt), config)
    texts = [tokenizer.decode(each.token_ids, skip_special_tokens=True) for each in found]
    is_whole = [config.constraint.accepts(each.token_ids, config.eos_token_id) for each in found]
    assert is_whole == [len(each.token_ids) < LENGTH or each.token_ids[-1] == tokenizer.eos_token_id for each in found]
    return [text for text, whole in zip(texts, is_whole, strict=True) if whole]


@pytest.mark.parametrize("file", FILES)
def test_texts_are_valid_or_the_schema_is_refused(file: str) -> None:
    for name, schema in SCHEMAS.items():
        if name.rsplit(" ", 1)[0] != file or name in _NOT_FOR_PYTHON:
            continue
        try:
            texts = next(filter(None, (write(schema, seed) for seed in range(1, 6))), [])
        except InputError as error:
            assert "json_schema" in str(error)  # noqa: PT017 - of many schemas some are taken
            continue
        assert texts or name in _LONG, f"{name}: no text came to its end"
        for text in texts:
            Draft202012Validator(schema).validate(json.loads(text))


def test_most_schemas_are_taken_that_the_engine_knows() -> None:
    tokenizer, decoder = parts()
    taken = 0
    for schema in SCHEMAS.values():
        try:
            generation_config(decoder, {}, {"json_schema": schema, "eos_token_id": 0}, tokenizer=tokenizer)
        except InputError:
            continue
        taken += 1
    assert taken >= TAKEN
    assert len(SCHEMAS) > 2 * TAKEN
