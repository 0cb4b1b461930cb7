"""The options and their defaults."""

from __future__ import annotations

import pytest
from transformers import GenerationConfig as Reference

from edgepipe.errors import InputError
from edgepipe.generation.config import CHECKS
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import stream
from tests.runtime.generation.models import batch, model
from tests.runtime.generation.option_decoder import decoder
from tests.runtime.generation.torch_decoder import TorchDecoder


def test_the_defaults_are_those_of_transformers() -> None:
    theirs = Reference._get_default_generation_params()
    ours = generation_config(decoder(), {}, {})
    # 20 tokens are added where the inputs are known; no ids are None there, and empty here.
    for name in set(theirs) & set(CHECKS) - {"max_length"}:
        assert getattr(ours, name) == theirs[name] or (theirs[name] is None and not getattr(ours, name))


def test_more_than_one_sequence_is_not_streamed() -> None:
    torch_decoder = TorchDecoder(model("gpt2"))
    beams = generation_config(torch_decoder, {}, {"num_beams": 2})
    with pytest.raises(InputError, match="num_beams is 2: which beam wins is known only at the end"):
        stream(torch_decoder, *batch("gpt2", (6,)), beams)
    two = generation_config(torch_decoder, {}, {"num_return_sequences": 2, "do_sample": True})
    with pytest.raises(InputError, match="num_return_sequences is 2 for 1 inputs, but a stream has one text"):
        stream(torch_decoder, *batch("gpt2", (6,)), two)
