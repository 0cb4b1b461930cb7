"""Options that are unknown, missing here, or contradict each other."""

from __future__ import annotations

from typing import Any

import pytest

from edgepipe.errors import InputError
from edgepipe.generation.config_sources import generation_config
from tests.runtime.generation.option_decoder import decoder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_token": 3}, "no option 'max_new_token'; did you mean 'max_new_tokens'"),
        ({"num_beam": 3}, "no option 'num_beam'; did you mean 'num_beams'"),
        ({"zzz": 3}, "no option 'zzz'$"),
        ({"penalty_alpha": 0.6}, "penalty_alpha=0.6 is not taken: edgepipe has no contrastive search; leave it out"),
        ({"assistant_early_exit": 3}, "assistant_early_exit=3 is not taken: it changes no token; leave it out"),
    ],
    ids=str,
)
def test_an_option_that_there_is_not_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generation_config(decoder(), {}, options)


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
        ({"prompt_lookup_num_tokens": 3, "num_beams": 2}, ("prompt_lookup_num_tokens=3", "num_beams=2")),
        (
            {"prompt_lookup_num_tokens": 3, "num_return_sequences": 2, "do_sample": True},
            ("prompt_lookup_num_tokens=3", "num_return_sequences=2"),
        ),
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
        ({"max_length": 9, "max_new_tokens": 3}, "max_new_tokens=3 goes before max_length=9"),
        ({"min_length": 9, "min_new_tokens": 3}, "min_new_tokens=3 goes before min_length=9"),
        ({"max_matching_ngram_size": 3}, "max_matching_ngram_size=3 has no effect; pass prompt_lookup_num_tokens"),
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


@pytest.mark.parametrize(
    "form", [{"json_schema": True}, {"regex": "a"}, {"choices": ["a"]}], ids=["schema", "regex", "choices"]
)
def test_a_model_that_has_an_encoder_is_held_to_no_form(form: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="is for text-generation, and this model has an encoder; leave it out"):
        generation_config(decoder(is_encoder_decoder=True), {}, {**form, "decoder_start_token_id": 0})


def test_a_text_is_held_to_one_form() -> None:
    with pytest.raises(InputError, match="json_schema and regex and choices exclude each other: a text is held to one"):
        generation_config(decoder(), {}, {"json_schema": {}, "regex": "a", "choices": ["a"]})
