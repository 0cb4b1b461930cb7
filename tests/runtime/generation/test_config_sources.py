"""Where options come from, and which win."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from transformers import GenerationConfig as Reference

from edgepipe import Tokenizer
from edgepipe.errors import BundleError, InputError
from edgepipe.generation.config import CHECKS, GenerationConfig
from edgepipe.generation.config_sources import checkpoint_options, generation_config, read_generation_config
from tests.runtime.generation.option_decoder import decoder
from tests.tiny import TOKENIZERS

PIPELINE = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}


def test_the_last_one_wins() -> None:
    checkpoint = decoder({"num_beams": 2, "max_length": 30, "length_penalty": 2.0, "temperature": None})
    config = generation_config(
        checkpoint,
        {"num_beams": 3, "min_length": 5, "prefix": "summarize: "},
        {"num_beams": 4, "no_repeat_ngram_size": 3},
        defaults={"num_beams": 9, "max_new_tokens": 256, "early_stopping": True},
    )
    assert config == GenerationConfig(
        num_beams=4,
        min_length=5,
        no_repeat_ngram_size=3,
        length_penalty=2.0,
        max_length=30,
        early_stopping=True,
    )


@pytest.mark.parametrize(
    ("generation", "options", "expected"),
    [
        ({}, {}, (256, True, 0.7)),
        ({}, {"max_new_tokens": 5}, (5, True, 0.7)),
        ({}, {"max_length": 5}, (None, True, 0.7)),
        ({"max_length": 50}, {}, (None, True, 0.7)),
        ({}, {"do_sample": False}, (256, False, 1.0)),
        ({"do_sample": False}, {}, (256, False, 1.0)),
        ({"temperature": 0.2}, {}, (256, True, 0.2)),
        ({"temperature": 0.2}, {"do_sample": False}, (256, False, 0.2)),
    ],
    ids=str,
)
def test_a_pipeline_s_defaults_give_way(generation: dict[str, Any], options: dict[str, Any], expected: Any) -> None:
    config = generation_config(decoder(generation), {}, options, defaults=PIPELINE)
    assert (config.max_new_tokens, config.do_sample, config.temperature) == expected


@pytest.mark.parametrize(
    "config",
    [
        {"num_beams": 4, "max_length": 60, "eos_token_id": 2, "pad_token_id": None, "vocab_size": 9},
        {"force_bos_token_to_be_generated": True, "bos_token_id": 3, "eos_token_id": [2, 5]},
        {"decoder": {"num_beams": 3, "eos_token_id": 7, "length_penalty": 2.0}, "eos_token_id": 2},
        {"text_config": {"bos_token_id": 4, "temperature": 0.5}, "architectures": ["X"]},
        {"decoder": None, "do_sample": True, "top_k": 3, "no_repeat_ngram_size": 3, "bad_words_ids": [[4]]},
    ],
    ids=str,
)
def test_without_a_generation_config_the_model_s_counts_as_in_transformers(config: dict[str, Any]) -> None:
    theirs = Reference.from_model_config(dict(config))
    expected = {name: getattr(theirs, name, None) for name in CHECKS}
    found = checkpoint_options(decoder(config=config))
    assert found == {name: value for name, value in expected.items() if value is not None}


def test_padding_is_that_of_the_checkpoint_or_the_tokenizer_or_the_end() -> None:
    tokenizer = Tokenizer.from_pretrained(TOKENIZERS / "bert")
    assert tokenizer.pad_token_id is not None
    assert generation_config(decoder({"pad_token_id": 9}), {}, {}, tokenizer=tokenizer).pad_token_id == 9
    assert generation_config(decoder(), {}, {}, tokenizer=tokenizer).pad_token_id == tokenizer.pad_token_id
    assert generation_config(decoder({"eos_token_id": [7, 8]}), {}, {}).pad_token_id == 7
    assert generation_config(decoder(), {}, {}).pad_token_id is None


def test_none_switches_an_option_off() -> None:
    checkpoint = decoder({"eos_token_id": 5, "top_k": 10, "num_beams": 4, "penalty_alpha": 0.6, "pad_token_id": 0})
    config = generation_config(checkpoint, {}, dict.fromkeys(("eos_token_id", "top_k", "num_beams", "penalty_alpha")))
    assert config == GenerationConfig(top_k=0, pad_token_id=0)


@pytest.mark.parametrize("as_dict", [False, True])
def test_a_generation_config_goes_between_checkpoint_and_call(as_dict: bool) -> None:
    given: Any = Reference(num_beams=3, length_penalty=0.5, top_k=7, max_length=30)
    read = read_generation_config(given.to_dict() if as_dict else given)
    assert read == {"num_beams": 3, "length_penalty": 0.5, "top_k": 7, "max_length": 30}
    checkpoint = decoder({"num_beams": 2, "no_repeat_ngram_size": 2})
    config = generation_config(checkpoint, {}, {"length_penalty": 2.0}, defaults=PIPELINE, given=read)
    assert (config.num_beams, config.length_penalty, config.top_k) == (3, 2.0, 7)
    assert (config.no_repeat_ngram_size, config.max_length, config.max_new_tokens) == (2, 30, None)
    assert read_generation_config(None) == {}


def test_what_is_no_generation_config() -> None:
    with pytest.raises(InputError, match="generation_config must be a GenerationConfig of transformers or a dict"):
        read_generation_config("greedy")
    with pytest.raises(InputError, match="generation has no option 'num_beam'"):
        generation_config(decoder(), {}, {}, given=read_generation_config({"num_beam": 3}))


@pytest.mark.parametrize("value", [np.ones(2, bool), "yes", 1], ids=["array", "text", "number"])
def test_what_is_no_choice_between_drawing_and_the_likeliest(value: Any) -> None:
    with pytest.raises(InputError, match="do_sample must be True or False"):
        generation_config(decoder(), {}, {"do_sample": value})


@pytest.mark.parametrize("name", ["num_beams", "num_beam_groups", "num_return_sequences"])
def test_a_checkpoint_that_fills_the_memory(name: str) -> None:
    checkpoint = decoder({name: 1_000_000})
    with pytest.raises(BundleError, match=rf"has {name}=1e\+06, more than 1024"):
        generation_config(checkpoint, {}, {})
    with pytest.raises(BundleError, match="more than 1024"):
        generation_config(decoder({}), {name: 1_000_000}, {})
    asked = {"num_beams": 4, name: 4} | ({"diversity_penalty": 1.0} if name == "num_beam_groups" else {})
    assert getattr(generation_config(checkpoint, {}, asked), name) == 4
    with pytest.raises(InputError, match=rf"{name} is 1e\+06, and can be 6.55e\+04 at most"):
        generation_config(checkpoint, {}, {name: 1_000_000})


def test_a_checkpoint_does_not_say_what_memory_there_is() -> None:
    for checkpoint in (
        decoder({"kv_cache_memory_bytes": 1 << 60, "top_k": 3}),
        decoder({}, {"kv_cache_memory_bytes": 1 << 60, "text_config": {"kv_cache_memory_bytes": 1}}),
    ):
        assert generation_config(checkpoint, {}, {}).kv_cache_memory_bytes is None
        assert generation_config(checkpoint, {}, {"kv_cache_memory_bytes": 7}).kv_cache_memory_bytes == 7
