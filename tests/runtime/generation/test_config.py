"""Where options come from, which win, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from transformers import GenerationConfig as Reference

from edgepipe import Tokenizer
from edgepipe.errors import InputError
from edgepipe.generation.config import CHECKS, GenerationConfig
from edgepipe.generation.config_sources import checkpoint_options, generation_config
from edgepipe.generation.generate import generate, stream
from tests.runtime.generation.models import batch, model
from tests.runtime.generation.torch_decoder import TorchDecoder
from tests.tiny import TOKENIZERS

PIPELINE = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}


def decoder(
    generation: dict[str, Any] | None = None, config: dict[str, Any] | None = None, is_encoder_decoder: bool = False
) -> Any:
    """As much of a decoder as options need."""
    return SimpleNamespace(
        generation_config=generation or {}, config=config or {}, is_encoder_decoder=is_encoder_decoder, max_length=None
    )


def test_the_defaults_are_those_of_transformers() -> None:
    theirs = Reference._get_default_generation_params()
    ours = generation_config(decoder(), {}, {})
    # 20 tokens are added where the inputs are known; no ids are None there, and empty here.
    for name in set(theirs) & set(CHECKS) - {"max_length"}:
        assert getattr(ours, name) == theirs[name] or (theirs[name] is None and not getattr(ours, name))


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


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"num_return_sequences": 2}, ("num_return_sequences=2", "num_beams=1", "do_sample=False")),
        ({"num_return_sequences": 3, "num_beams": 2}, ("num_return_sequences=3", "num_beams=2")),
        ({"num_beams": 4, "num_beam_groups": 3}, ("num_beam_groups=3", "num_beams=4")),
        ({"num_beams": 4, "num_beam_groups": 2}, ("num_beam_groups=2", "diversity_penalty=0.0")),
        ({"diversity_penalty": 0.5}, ("diversity_penalty=0.5", "num_beam_groups=1")),
        (
            {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5, "do_sample": True},
            ("num_beam_groups=2", "do_sample=True"),
        ),
        ({"min_new_tokens": 9, "max_new_tokens": 4}, ("min_new_tokens=9", "max_new_tokens=4")),
        ({"min_length": 9, "max_length": 4}, ("min_length=9", "max_length=4")),
        ({"forced_bos_token_id": 3, "suppress_tokens": [3]}, ("forced_bos_token_id=3", "suppress_tokens")),
        ({"forced_eos_token_id": 3, "suppress_tokens": [3]}, (r"forced_eos_token_id=\[3\]", "suppress_tokens")),
        ({"exponential_decay_length_penalty": (3, 1.1)}, ("exponential_decay_length_penalty", "eos_token_id=None")),
    ],
    ids=str,
)
def test_a_contradiction_names_both(options: dict[str, Any], names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=".*".join(names)):
        generation_config(decoder(), {}, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_token": 3}, "no option 'max_new_token'; did you mean 'max_new_tokens'"),
        ({"num_beam": 3}, "no option 'num_beam'; did you mean 'num_beams'"),
        ({"zzz": 3}, "no option 'zzz'$"),
        ({"penalty_alpha": 0.6}, "penalty_alpha=0.6 asks for contrastive search, which edgepipe does not have"),
        ({"prompt_lookup_num_tokens": 3}, "prompt_lookup_num_tokens=3 asks for assisted decoding"),
        ({"max_new_tokens": 0}, "max_new_tokens must be a whole number of at least 1, got 0"),
        ({"max_new_tokens": 2.0}, "max_new_tokens must be a whole number of at least 1, got 2.0"),
        ({"num_beams": True}, "num_beams must be a whole number of at least 1, got True"),
        ({"do_sample": 1}, "do_sample must be True or False, got 1"),
        ({"early_stopping": "always"}, "early_stopping must be True, False or 'never', got 'always'"),
        ({"temperature": 0.0}, "temperature must be more than 0, got 0.0; pass do_sample=False"),
        ({"temperature": -1}, "temperature must be more than 0, got -1"),
        ({"top_p": 1.5}, "top_p must be at least 0 and at most 1, got 1.5"),
        ({"repetition_penalty": float("nan")}, "repetition_penalty must be a number, got nan"),
        ({"eos_token_id": "</s>"}, "eos_token_id must be a token id or a list of token ids, got '</s>'"),
        ({"suppress_tokens": [-3]}, "suppress_tokens must be a token id or a list of token ids"),
        ({"bad_words_ids": [3]}, "bad_words_ids must be a list of lists of token ids"),
        ({"sequence_bias": {3: 1.0}}, "sequence_bias must be a dict"),
        ({"stop_strings": [""]}, "stop_strings must be a text or a list of texts, none of them empty"),
        ({"exponential_decay_length_penalty": 3}, "exponential_decay_length_penalty must be a pair"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
    ],
    ids=str,
)
def test_what_cannot_be_followed_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generation_config(decoder(), {}, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 9, "max_new_tokens": 3}, "max_new_tokens=3 goes before max_length=9"),
        ({"min_length": 9, "min_new_tokens": 3}, "min_new_tokens=3 goes before min_length=9"),
        ({"temperature": 0.5}, "temperature=0.5 has no effect with do_sample=False"),
        ({"length_penalty": 0.5}, "length_penalty=0.5 has no effect with num_beams=1"),
    ],
    ids=str,
)
def test_an_option_that_loses_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        generation_config(decoder(), {}, options)


@pytest.mark.filterwarnings("error")
def test_what_a_checkpoint_sets_in_vain_is_not_said() -> None:
    checkpoint = decoder({"temperature": 0.6, "top_p": 0.9, "length_penalty": 2.0, "max_length": 9})
    assert generation_config(checkpoint, {}, {"do_sample": False, "max_new_tokens": 3}).temperature == 0.6


def test_an_encoder_decoder_needs_something_to_start_with() -> None:
    with pytest.raises(InputError, match="pass decoder_start_token_id"):
        generation_config(decoder({"eos_token_id": 3}, is_encoder_decoder=True), {}, {})
    started = generation_config(decoder({"bos_token_id": 3}, is_encoder_decoder=True), {}, {})
    assert started.decoder_start_token_id == (3,)


def test_each_row_may_start_with_a_token_of_its_own() -> None:
    torch_decoder = TorchDecoder(model("bart"))
    inputs = batch("bart", (4, 4))
    config = generation_config(torch_decoder, {}, {"decoder_start_token_id": [5, 6], "max_new_tokens": 3})
    assert [row[0].token_ids[0] for row in generate(torch_decoder, *inputs, config)] == [5, 6]
    three = generation_config(torch_decoder, {}, {"decoder_start_token_id": [5, 6, 7]})
    with pytest.raises(InputError, match="decoder_start_token_id has 3 tokens for 2 inputs"):
        generate(torch_decoder, *inputs, three)


def test_a_prompt_without_room_is_an_error() -> None:
    torch_decoder = TorchDecoder(model("gpt2"), max_length=96)
    too_long = generation_config(torch_decoder, {}, {"max_length": 6})
    with pytest.raises(InputError, match="max_length=6 leaves no room behind a prompt of 6 tokens"):
        generate(torch_decoder, *batch("gpt2", (6,)), too_long)
    with pytest.raises(InputError, match="the prompt has 97 tokens, more than the 96 that the model takes"):
        generate(torch_decoder, *batch("gpt2", (97,)), generation_config(torch_decoder, {}, {"max_new_tokens": 3}))


def test_more_than_one_sequence_is_not_streamed() -> None:
    torch_decoder = TorchDecoder(model("gpt2"))
    beams = generation_config(torch_decoder, {}, {"num_beams": 2})
    with pytest.raises(InputError, match="num_beams is 2: which beam wins is known only at the end"):
        stream(torch_decoder, *batch("gpt2", (6,)), beams)
    two = generation_config(torch_decoder, {}, {"num_return_sequences": 2, "do_sample": True})
    with pytest.raises(InputError, match="num_return_sequences is 2 for 1 inputs, but a stream has one text"):
        stream(torch_decoder, *batch("gpt2", (6,)), two)
