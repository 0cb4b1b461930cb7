"""What configures a watermark."""

from __future__ import annotations

import dataclasses
from inspect import signature
from typing import Any

import pytest
import transformers

from edgepipe.errors import InputError
from edgepipe.generation.logits.watermark_config import (
    SynthIDTextWatermarkingConfig,
    WatermarkingConfig,
    check_watermark,
)

NAME = "watermarking_config"


@pytest.mark.parametrize("kind", [WatermarkingConfig, SynthIDTextWatermarkingConfig])
def test_names_and_defaults_are_those_of_transformers(kind: Any) -> None:
    pytest.importorskip("torch")  # without it transformers has a stand-in
    asked = signature(getattr(transformers, kind.__name__)).parameters
    own = signature(kind).parameters
    assert {name: each.default for name, each in own.items()} == {name: each.default for name, each in asked.items()}


def test_the_configurations_of_transformers_and_dicts_are_read_alike() -> None:
    pytest.importorskip("torch")
    green = {"bias": 1.5, "seeding_scheme": "selfhash", "context_width": 2}
    assert check_watermark(NAME, green) == check_watermark(NAME, transformers.WatermarkingConfig(**green))
    assert check_watermark(NAME, green) == WatermarkingConfig(bias=1.5, seeding_scheme="selfhash", context_width=2)
    played: dict[str, Any] = {"ngram_len": 4, "keys": [3, 5], "skip_first_ngram_calls": True}
    found = check_watermark(NAME, transformers.SynthIDTextWatermarkingConfig(**played))
    assert (
        found == check_watermark(NAME, played) == SynthIDTextWatermarkingConfig(4, (3, 5), skip_first_ngram_calls=True)
    )
    assert dataclasses.is_dataclass(found)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "watermarking_config must be a WatermarkingConfig of transformers or a dict, got 3"),
        ({"biass": 1.0}, "watermarking_config has no entry 'biass'; did you mean 'bias'"),
        ({"greenlist_ratio": 1.0}, "greenlist_ratio must be a number between 0 and 1, got 1.0"),
        ({"bias": "much"}, "bias must be a number, got 'much'"),
        ({"seeding_scheme": "hash"}, "seeding_scheme must be 'lefthash' or 'selfhash', got 'hash'"),
        ({"context_width": 0}, "context_width must be a whole number of at least 1"),
        ({"keys": [1]}, "watermarking_config has no 'ngram_len', which a watermark of SynthID needs"),
        ({"ngram_len": 3}, "watermarking_config has no 'keys'"),
        ({"ngram_len": 3, "keys": 5}, "keys must be a list of whole numbers, got 5"),
        ({"ngram_len": 3, "keys": []}, "keys must be a list of whole numbers"),
        ({"ngram_len": 3, "keys": [1], "sampling_table_size": 2**25}, "sampling_table_size must be at most 16777216"),
    ],
    ids=str,
)
def test_what_is_no_watermark(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_watermark(NAME, value)
