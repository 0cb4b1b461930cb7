"""What a value of each option may be."""

from __future__ import annotations

from typing import Any

import pytest

from edgepipe.errors import InputError
from edgepipe.generation import validation
from edgepipe.generation.config_sources import generation_config
from tests.runtime.generation.option_decoder import decoder


@pytest.mark.parametrize(
    ("options", "message"),
    [
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
def test_a_value_that_an_option_cannot_have_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generation_config(decoder(), {}, options)


@pytest.mark.parametrize("value", [2**31, 10**30, [0, 2**31], [-1]])
def test_ids_have_32_bits(value: Any) -> None:
    with pytest.raises(InputError):
        validation.ids("eos_token_id", value)
    assert validation.ids("eos_token_id", 2**31 - 1) == (2**31 - 1,)


def test_numbers_that_no_memory_holds() -> None:
    with pytest.raises(InputError, match=r"num_beams is 1e\+30, and can be 5 at most"):
        validation.whole(1, 5)("num_beams", 10**30)
    with pytest.raises(InputError, match=r"num_beams is more than 1e\+300, and can be 5 at most"):
        validation.whole(1, 5)("num_beams", 10**400)
    with pytest.raises(InputError, match="can be"):
        validation.token_id("pad_token_id", 2**31)


def test_a_stop_string_that_is_no_unicode() -> None:
    with pytest.raises(InputError, match="lone surrogate"):
        validation.strings("stop_strings", ["end", "\ud800"])
