"""Where a search starts, and what room it has."""

from __future__ import annotations

import pytest

from edgepipe.errors import InputError, LengthError
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from tests.runtime.generation.models import batch, model
from tests.runtime.generation.torch_decoder import TorchDecoder


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
    with pytest.raises(LengthError, match="the prompt has 97 tokens, more than the 96 that the model takes"):
        generate(torch_decoder, *batch("gpt2", (97,)), generation_config(torch_decoder, {}, {"max_new_tokens": 3}))
