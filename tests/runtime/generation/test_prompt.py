"""Where a search starts, and what room it has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgepipe.errors import InputError, LengthError, OutOfMemoryError
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate, stream
from tests.runtime.generation.models import batch, model
from tests.runtime.generation.table_decoder import TableDecoder, draw_table
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


@pytest.mark.parametrize(
    ("options", "rows", "tokens"),
    [
        ({}, 2, 7),
        ({"num_beams": 3}, 6, 7),
        ({"num_return_sequences": 4, "do_sample": True}, 8, 7),
        ({"guidance_scale": 1.5}, 2, 7 + 5),
        ({"guidance_scale": 1.5, "negative_prompt_ids": [1, 2, 3]}, 2, 7 + 7),
    ],
    ids=["greedy", "beams", "sequences", "guidance", "other prompt"],
)
def test_keys_and_values_need_room_before_the_first_token(options: dict[str, Any], rows: int, tokens: int) -> None:
    decoder = TableDecoder(draw_table(11))
    decoder.token_bytes = 10
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    given = {"max_new_tokens": 5, "eos_token_id": None, **options}  # of five new tokens four are read
    needed = rows * tokens * 10
    enough = generation_config(decoder, {}, given | {"kv_cache_memory_bytes": needed})
    assert generate(decoder, ids, np.ones_like(ids), enough)
    decoder.calls.clear()
    tight = generation_config(decoder, {}, given | {"kv_cache_memory_bytes": needed - 1})
    said = f"keys and values of {rows} sequences of up to 7 tokens need {needed} bytes, more than kv_cache_memory_bytes"
    with pytest.raises(OutOfMemoryError, match=said):
        generate(decoder, ids, np.ones_like(ids), tight)
    assert not decoder.calls


def test_an_assistant_has_keys_and_values_of_its_own() -> None:
    decoder = TableDecoder(draw_table(11), joins=True)
    decoder.token_bytes = 10
    ids = np.array([[1, 2, 3]])
    config = generation_config(decoder, {}, {"max_new_tokens": 5, "kv_cache_memory_bytes": 139})
    with pytest.raises(OutOfMemoryError, match="1 sequence of up to 7 tokens need 140 bytes"):
        stream(decoder, ids, np.ones_like(ids), config, assistant=decoder)
    assert list(stream(decoder, ids, np.ones_like(ids), config))
