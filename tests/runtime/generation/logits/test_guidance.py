"""Guidance beside that of transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgepipe.errors import InputError
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from tests.runtime.generation.models import ENDS, batch, model
from tests.runtime.generation.torch_decoder import TorchDecoder

SEARCHES: list[dict[str, Any]] = [
    {},
    {"num_beams": 3, "num_return_sequences": 3},
    {"num_beams": 4, "early_stopping": True, "length_penalty": 2.0, "num_return_sequences": 2},
    {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
]
NEGATIVE = [7, 9, 11, 30]


def both(architecture: str, options: dict[str, Any], lengths: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    """The tokens of each row, ours and those of transformers without what they are filled up with."""
    ids, mask = batch(architecture, lengths)
    decoder = TorchDecoder(model(architecture))
    search = {"max_new_tokens": 12, "do_sample": False, **ENDS, **options}
    found = generate(decoder, ids, mask, generation_config(decoder, {}, search))
    tensors = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    if "negative_prompt_ids" in search:
        search["negative_prompt_ids"] = torch.tensor([search["negative_prompt_ids"]])
    expected = model(architecture).generate(**tensors, **search)[:, ids.shape[1] :].tolist()
    ours = [each.token_ids for row in found for each in row]
    return ours, [theirs[: len(each)] for each, theirs in zip(ours, expected, strict=True)]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("search", SEARCHES, ids=str)
@pytest.mark.parametrize("scale", [0.0, 0.7, 1.5, 3])
@pytest.mark.filterwarnings("ignore")
def test_guided_searches_write_what_transformers_writes(
    scale: float, search: dict[str, Any], architecture: str
) -> None:
    for lengths in ((6,), (5, 9, 2)):
        ours, theirs = both(architecture, {"guidance_scale": scale, **search}, lengths)
        assert ours == theirs


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.filterwarnings("ignore")
def test_another_prompt_to_be_driven_away_from(architecture: str) -> None:
    without, _ = both(architecture, {"guidance_scale": 2.0}, (6,))
    ours, theirs = both(architecture, {"guidance_scale": 2.0, "negative_prompt_ids": NEGATIVE}, (6,))
    assert ours == theirs
    assert ours != without


def test_a_scale_of_1_guides_nothing() -> None:
    plain, _ = both("llama", {}, (6,))
    with pytest.warns(UserWarning, match="negative_prompt_ids has no effect with guidance_scale=1"):
        ours, _ = both("llama", {"guidance_scale": 1, "negative_prompt_ids": NEGATIVE}, (6,))
    assert ours == plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance_scale": "much"}, "guidance_scale must be a number, got 'much'"),
        ({"negative_prompt_ids": [[1], [2]]}, "negative_prompt_ids must be the token ids of one prompt"),
        ({"negative_prompt_ids": []}, "negative_prompt_ids must be the token ids of one prompt"),
        (
            {"negative_prompt_attention_mask": [[0, 1]]},
            "negative_prompt_attention_mask=.* is not taken: it masks tokens",
        ),
        (
            {"guidance_scale": 2.0, "num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0},
            "guidance_scale=2.0 contradicts num_beam_groups=2",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_guided(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generation_config(TorchDecoder(model("llama")), {}, options)


def test_an_encoder_decoder_is_not_guided() -> None:
    with pytest.raises(InputError, match=r"guidance_scale=2\.0 contradicts a model of this kind"):
        generation_config(TorchDecoder(model("t5")), {}, {"guidance_scale": 2.0})
