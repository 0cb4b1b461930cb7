"""Greedy and beam search against ``generate`` of transformers, token for token, on models of four architectures."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from edgepipe.errors import InputError
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import GeneratedSequence, generate, stream
from tests.runtime.generation.models import ENDS, MODELS, VOCABULARY, batch, model
from tests.runtime.generation.torch_decoder import TorchDecoder

MIXED = (5, 9, 2)
BEAMS = {"num_beams": 4, "max_new_tokens": 12, **ENDS}
OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no end": {"max_new_tokens": 12, "eos_token_id": None},
    "ends": {"max_new_tokens": 12, **ENDS},
    "max_length": {"max_length": 14},
    "min_length": {"min_length": 8, "max_new_tokens": 12, **ENDS},
    "min_new_tokens": {"min_new_tokens": 4, "max_new_tokens": 12, **ENDS},
    "both minima": {"min_length": 14, "min_new_tokens": 1, "max_new_tokens": 12, **ENDS},
    "repetition_penalty": {"repetition_penalty": 1.7, "max_new_tokens": 12, **ENDS},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 1.7, "max_new_tokens": 12, **ENDS},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 2, "max_new_tokens": 16, **ENDS},
    "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1, "max_new_tokens": 12, **ENDS},
    "bad_words_ids": {"bad_words_ids": [[9], [10, 11], [12], [13], [3]], "max_new_tokens": 12, **ENDS},
    "sequence_bias": {"sequence_bias": [[[20], 4.0], [[20, 20], -6.0]], "max_new_tokens": 12, **ENDS},
    "forced": {"forced_bos_token_id": 7, "forced_eos_token_id": 2, "max_new_tokens": 6, **ENDS},
    "suppressed": {"suppress_tokens": [12, 13, 14], "begin_suppress_tokens": [15, 3], "max_new_tokens": 9, **ENDS},
    "decay": {"exponential_decay_length_penalty": (3, 1.4), "max_new_tokens": 16, "eos_token_id": 5},
    "beams": BEAMS,
    "beams, early": BEAMS | {"early_stopping": True, "num_return_sequences": 4},
    "beams, late": BEAMS | {"early_stopping": "never", "length_penalty": 1.6, "num_return_sequences": 2},
    "beams, short": BEAMS | {"length_penalty": -0.8, "num_return_sequences": 3},
    "beams, no end": BEAMS | {"eos_token_id": None, "num_beams": 2},
    "beams, n-grams": BEAMS | {"no_repeat_ngram_size": 2, "encoder_no_repeat_ngram_size": 2, "min_length": 6},
    "beams, penalties": BEAMS | {"repetition_penalty": 1.3, "renormalize_logits": True, "bad_words_ids": [[9, 10]]},
    "beams, forced": BEAMS | {"forced_bos_token_id": 7, "forced_eos_token_id": 2, "num_return_sequences": 2},
}


def both(
    architecture: str, options: dict[str, Any], lengths: tuple[int, ...], seed: int = 0
) -> tuple[list[list[GeneratedSequence]], list[list[GeneratedSequence]], set[int]]:
    """What edgepipe and transformers generate, the latter as it is padded, and what it may be padded with."""
    ids, mask = batch(architecture, lengths, seed)
    decoder = TorchDecoder(model(architecture))
    config = generation_config(decoder, {}, options)
    found = generate(decoder, ids, mask, config)
    output = model(architecture).generate(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy(mask),
        output_scores=True,
        return_dict_in_generate=True,
        **options,
    )
    sequences = output.sequences[:, 0 if decoder.is_encoder_decoder else ids.shape[1] :].tolist()
    scores = output.sequences_scores.tolist() if config.num_beams > 1 else [None] * len(sequences)
    width = config.num_return_sequences
    reference = [GeneratedSequence(*pair) for pair in zip(sequences, scores, strict=True)]
    rows = [reference[start : start + width] for start in range(0, len(reference), width)]
    return found, rows, {config.pad_token_id or 0, *config.eos_token_id[:1], -1}


def assert_same(
    found: list[list[GeneratedSequence]], reference: list[list[GeneratedSequence]], padding: set[int]
) -> None:
    for row, expected in zip(found, reference, strict=True):
        for got, want in zip(row, expected, strict=True):
            assert got.token_ids == want.token_ids[: len(got.token_ids)]
            assert set(want.token_ids[len(got.token_ids) :]) <= padding
            assert got.score is want.score is None or got.score == pytest.approx(want.score, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.filterwarnings("ignore")
def test_every_option_gives_what_transformers_gives(name: str, architecture: str) -> None:
    for lengths in ((4,), MIXED):
        assert_same(*both(architecture, OPTIONS[name], lengths))


def drawn_options(draw: random.Random) -> dict[str, Any]:
    """A random handful of the options above, and more end tokens."""
    names = draw.sample(list(OPTIONS), 4)
    options: dict[str, Any] = {}
    for name in names:
        options |= OPTIONS[name]
    options["eos_token_id"] = draw.sample(range(VOCABULARY), draw.choice([1, 3, 6]))
    options["max_new_tokens"] = draw.choice([4, 9, 20])
    if options.get("num_beams", 1) == 1:
        options.pop("num_return_sequences", None)
    return options | {"num_return_sequences": 1} if options.get("num_beams") == 2 else options


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.filterwarnings("ignore")
def test_options_together_give_what_transformers_gives(seed: int) -> None:
    draw = random.Random(seed)
    options = drawn_options(draw)
    lengths = tuple(draw.choice([1, 2, 4, 8]) for _ in range(draw.choice([1, 2, 4])))
    assert_same(*both(draw.choice(list(MODELS)), options, lengths, seed))


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("options", [{"max_new_tokens": 12, **ENDS}, BEAMS | {"num_return_sequences": 2}], ids=str)
def test_a_mixed_batch_gives_what_each_input_gives_alone(architecture: str, options: dict[str, Any]) -> None:
    ids, mask = batch(architecture, MIXED)
    decoder = TorchDecoder(model(architecture))
    config = generation_config(decoder, {}, options)
    together = generate(decoder, ids, mask, config)
    for row, (row_ids, row_mask) in enumerate(zip(ids, mask, strict=True)):
        alone = row_ids[row_mask == 1][None]
        (found,) = generate(decoder, alone, np.ones_like(alone), config)
        assert [each.token_ids for each in found] == [each.token_ids for each in together[row]]
        assert [each.score or 0 for each in found] == pytest.approx([each.score or 0 for each in together[row]], 1e-4)


def test_streaming_gives_the_same_tokens_one_at_a_time() -> None:
    for architecture, start in (("llama", 0), ("t5", 1)):
        decoder = TorchDecoder(model(architecture))
        config = generation_config(decoder, {}, {"max_new_tokens": 12, **ENDS})
        inputs = batch(architecture, (6,))
        ((whole,),) = generate(decoder, *inputs, config)
        assert list(stream(decoder, *inputs, config)) == whole.token_ids[start:]


def test_a_stream_that_is_closed_runs_no_further() -> None:
    decoder = TorchDecoder(model("gpt2"))
    config = generation_config(decoder, {}, {"max_new_tokens": 12, "eos_token_id": None})
    tokens = stream(decoder, *batch("gpt2", (6,)), config)
    next(tokens)
    next(tokens)
    tokens.close()
    assert decoder.calls == [("step", 1), ("step", 1)]


def test_generation_ends_where_the_model_has_no_more_positions() -> None:
    decoder = TorchDecoder(model("gpt2"), max_length=96)
    config = generation_config(decoder, {}, {"max_new_tokens": 500, "eos_token_id": None})
    ((found,),) = generate(decoder, *batch("gpt2", (90,)), config)
    # The last token needs no position: it is not read.
    assert len(found.token_ids) == 97 - 90


def test_time_runs_out() -> None:
    decoder = TorchDecoder(model("gpt2"))
    for options in ({}, {"num_beams": 2}, {"num_beams": 2, "num_beam_groups": 2, "diversity_penalty": 1.0}):
        config = generation_config(
            decoder, {}, {"max_new_tokens": 80, "eos_token_id": None, "max_time": 1e-9, **options}
        )
        ((found,),) = generate(decoder, *batch("gpt2", (3,)), config)
        assert len(found.token_ids) == 1


class Recorder:
    """A streamer that keeps what it gets."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def put(self, value: Any) -> None:
        self.calls.append((tuple(value.shape), value.tolist()))

    def end(self) -> None:
        self.calls.append("end")


@pytest.mark.parametrize("architecture", ["llama", "bart"])
def test_a_streamer_gets_what_that_of_transformers_gets(architecture: str) -> None:
    options = {"max_new_tokens": 12, "do_sample": False, **ENDS}
    ids, mask = batch(architecture, MIXED)
    ours, theirs = Recorder(), Recorder()
    decoder = TorchDecoder(model(architecture))
    generate(decoder, ids, mask, generation_config(decoder, {}, options), streamer=ours)
    tensors = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    model(architecture).generate(**tensors, streamer=theirs, **options)
    assert ours.calls == theirs.calls
    assert ours.calls[-1] == "end"


def test_beams_have_nothing_to_stream() -> None:
    decoder = TorchDecoder(model("llama"))
    config = generation_config(decoder, {}, {"num_beams": 2})
    with pytest.raises(InputError, match="num_beams is 2: which beam wins is known only at the end"):
        generate(decoder, *batch("llama", (6,)), config, streamer=Recorder())


def ends_with_an_odd_token(ids: Any, scores: Any) -> Any:
    """For arrays and tensors alike."""
    return (ids[:, -1] % 2 == 1) & (ids[:, -1] > 10)


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("search", [{}, {"num_beams": 3, "num_return_sequences": 2}], ids=str)
@pytest.mark.filterwarnings("ignore")
def test_criteria_and_processors_of_one_s_own(architecture: str, search: dict[str, Any]) -> None:
    options = {
        "max_new_tokens": 12,
        "stopping_criteria": [ends_with_an_odd_token],
        "logits_processor": [lambda ids, scores: scores * 0.7 + (ids[:, -1:] % 3)],
        **ENDS,
        **search,
    }
    assert_same(*both(architecture, options, MIXED))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"stopping_criteria": [lambda ids, scores: [True]]},
            r"must return True, False or bool\[3\], got bool of shape",
        ),
        ({"stopping_criteria": [lambda ids, scores: 1]}, "must return True, False or bool"),
        ({"stopping_criteria": len}, "stopping_criteria must be a list of functions"),
        ({"logits_processor": [3]}, "logits_processor must be a list of functions"),
    ],
    ids=["an array of one row", "a number", "one function", "a list of numbers"],
)
def test_functions_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    decoder = TorchDecoder(model("llama"))
    with pytest.raises(InputError, match=message):
        generate(decoder, *batch("llama", MIXED), generation_config(decoder, {}, {"max_new_tokens": 3, **options}))
