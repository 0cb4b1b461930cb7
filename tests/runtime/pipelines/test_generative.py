"""What the tasks that write text do around the search: batches, streams, lengths, and input that cannot be used."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import transformers

from edgepipe.errors import InputError
from tests.golden.prove_generation import built, loaded
from tests.golden.suites.text_generation import MIXED, PLAIN

GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def writer() -> Any:
    return loaded("text-generation", *built("text-generation", "gpt2", "its own length"))


@pytest.fixture(scope="module")
def limited() -> Any:
    """A model that takes no more than 64 tokens."""
    pipe = loaded("text-generation", *built("text-generation", "gpt2", "its own length"))
    pipe.decoder.max_length = 64
    return pipe


def test_batches_give_what_each_prompt_gives_alone(writer: Any) -> None:
    prompts = [*MIXED, "", "a" * 20, MIXED[0]]
    for options in (GREEDY, {"do_sample": False, "max_length": 36, "min_length": 34}, GREEDY | {"num_beams": 3}):
        alone = [writer(prompt, **options) for prompt in prompts]
        for size in (3, 8):
            assert writer(prompts, batch_size=size, **options) == alone


def test_draws_depend_on_the_seed_and_the_place_alone(writer: Any) -> None:
    options = {"do_sample": True, "max_new_tokens": 8, "seed": 7, "num_beams": 1}
    expected = writer(MIXED * 3, **options)
    assert expected != writer(MIXED * 3, **options | {"seed": 8})
    assert len({str(result) for result in expected[:: len(MIXED)]}) > 1  # one prompt at three places
    for size in (2, 4, 16):
        assert writer(MIXED * 3, batch_size=size, **options) == expected


def test_an_iterator_is_read_only_as_far_as_needed(writer: Any) -> None:
    read: list[str] = []

    def prompts() -> Iterator[str]:
        for index in range(1000):
            read.append(f"Prompt {index}")
            yield read[-1]

    results = writer(prompts(), **GREEDY)
    assert next(results)[0]["generated_text"].startswith("Prompt 0")
    assert len(read) <= 2
    results = writer(prompts(), batch_size=4, **GREEDY)
    next(results)
    assert len(read) <= 2 + 4 * 4 + 1


@pytest.mark.parametrize("prompt", [PLAIN, "", "a\U0001f600"])
def test_a_stream_is_the_new_text(writer: Any, prompt: str) -> None:
    options = GREEDY | {"max_new_tokens": 20, "num_beams": 1}
    pieces = list(writer.stream(prompt, **options))
    assert "".join(pieces) == writer(prompt, return_full_text=False, **options)[0]["generated_text"]
    assert len(pieces) > 3


def test_a_stream_ends_when_its_reader_does(writer: Any) -> None:
    stream = writer.stream(PLAIN, **GREEDY | {"max_new_tokens": 500, "num_beams": 1})
    writer.decoder.calls.clear()
    assert next(stream)
    steps = len(writer.decoder.calls)
    stream.close()
    assert len(writer.decoder.calls) == steps < 10
    assert list(stream) == []


def test_the_end_of_what_the_model_takes(limited: Any) -> None:
    """The reference fails with an IndexError of PyTorch there."""
    options = {"do_sample": False, "num_beams": 1, "max_new_tokens": 200, "eos_token_id": None, "return_tensors": True}
    with pytest.warns(UserWarning, match="a text ends where the model's limit of 64 tokens is reached"):
        [result] = limited(PLAIN, **options)
    assert len(result["generated_token_ids"]) == 65  # the last one need not go through the model
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        length = len(limited.tokenizer(PLAIN)["input_ids"])
        limited(PLAIN, **options | {"max_new_tokens": 65 - length})


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        (MIXED, {}, "a stream has one input"),
        (PLAIN, {"num_beams": 2}, "num_beams is 2: which beam wins is known only at the end"),
        (PLAIN, {"do_sample": True, "num_return_sequences": 2}, "a stream has one text"),
        (PLAIN, {"bogus": 2}, "has no option 'bogus'"),
        (7, {}, "expected a text"),
    ],
)
def test_what_cannot_be_streamed(limited: Any, prompt: Any, options: dict[str, Any], message: str) -> None:
    """Said at the call, before anything is read."""
    with pytest.raises(InputError, match=message):
        limited.stream(prompt, **{"num_beams": 1, "max_new_tokens": 5} | options)


# Beside transformers itself, over the same model.


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    """Our pipeline and that of transformers, over one model."""
    model, tokenizer = built("text-generation", "gpt2", "its own length")
    return loaded("text-generation", model, tokenizer), reference(model, tokenizer)


def reference(model: Any, tokenizer: Any, **options: Any) -> Any:
    return transformers.pipeline("text-generation", model=model, tokenizer=tokenizer, device=-1, **options)


CONFIGS: list[dict[str, Any]] = [
    {"max_new_tokens": 6, "do_sample": False, "num_beams": 3},
    {"max_new_tokens": 6, "do_sample": False, "num_beams": 3, "num_return_sequences": 2, "length_penalty": 2.0},
    {"num_beams": 1, "max_length": 24, "do_sample": False},
    {"do_sample": False},
]


@pytest.mark.parametrize("given", CONFIGS, ids=str)
@pytest.mark.filterwarnings("ignore")
def test_a_generation_config_is_read_as_in_transformers(given: dict[str, Any], pair: tuple[Any, Any]) -> None:
    config = transformers.GenerationConfig(**given)
    ours, theirs = pair
    for options in ({}, {"max_new_tokens": 4}, {"repetition_penalty": 1.5, "num_beams": 2}):
        expected = theirs(MIXED, generation_config=config, **options)
        assert ours(MIXED, generation_config=config, **options) == expected
        assert ours(MIXED, generation_config=given, **options) == expected


@pytest.mark.filterwarnings("ignore")
def test_a_generation_config_takes_the_place_of_what_the_pipeline_was_made_with() -> None:
    made_with: dict[str, Any] = {"max_new_tokens": 5, "num_beams": 4, "repetition_penalty": 1.9}
    model, tokenizer = built("text-generation", "gpt2", "its own length")
    for own in (made_with, {"generation_config": transformers.GenerationConfig(**made_with)}):
        ours = loaded("text-generation", model, tokenizer, **own)
        theirs = reference(model, tokenizer, **own)
        for options in (
            {},
            {"num_beams": 1},
            {"generation_config": transformers.GenerationConfig(max_new_tokens=7, do_sample=False)},
        ):
            assert ours(PLAIN, **options) == theirs(PLAIN, **options)


@pytest.mark.filterwarnings("ignore")
def test_the_streamers_of_transformers_stream(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    for pipe, tokenizer in ((ours, ours.tokenizer), (theirs, theirs.tokenizer)):
        streamer = transformers.TextIteratorStreamer(tokenizer, skip_prompt=True)
        [result] = pipe(PLAIN, streamer=streamer, num_beams=1, return_full_text=False, **GREEDY)
        assert "".join(streamer) == result["generated_text"]


def test_what_cannot_be_streamed_to(writer: Any) -> None:
    with pytest.raises(InputError, match="streamer must have the methods put and end, got 'text'"):
        writer(PLAIN, streamer="text")
    with pytest.raises(InputError, match="a stream gives the text itself, and streamer gets its tokens"):
        writer.stream(PLAIN, streamer=transformers.TextStreamer(writer.tokenizer), num_beams=1)


@pytest.mark.filterwarnings("ignore")
def test_the_kind_of_a_result_by_its_name_in_transformers(pair: tuple[Any, Any]) -> None:
    from transformers.pipelines.text_generation import ReturnType

    ours, theirs = pair
    for kind in ReturnType:
        options = {**GREEDY, "num_beams": 1, "return_type": kind, "return_full_text": False}
        assert ours(PLAIN, **options) == theirs(PLAIN, **options)
    with pytest.raises(InputError, match=r"return_type must be a ReturnType of transformers \(TENSORS, NEW_TEXT"):
        ours(PLAIN, return_type=3)


BATCHED: list[dict[str, Any]] = [
    {"num_beams": 4, "num_return_sequences": 2, "eos_token_id": [40, 44, 63, 71], "pad_token_id": 0},
    {"num_beams": 4, "num_return_sequences": 2, "eos_token_id": [40, 44, 63, 71], "skip_special_tokens": False},
    {"num_beams": 3, "num_return_sequences": 3, "eos_token_id": list(range(60, 90)), "return_tensors": True},
    {"num_beams": 1, "eos_token_id": list(range(40, 90)), "pad_token_id": 33},
    {"num_beams": 1, "eos_token_id": list(range(40, 90)), "return_tensors": True},
    {"num_beams": 1, "eos_token_id": list(range(40, 90)), "return_full_text": False, "skip_special_tokens": False},
]


@pytest.mark.parametrize("options", BATCHED, ids=str)
@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.filterwarnings("ignore")
def test_shorter_texts_of_a_batch_are_filled_as_in_transformers(
    options: dict[str, Any], batch_size: int, pair: tuple[Any, Any]
) -> None:
    prompts = [*MIXED, "a", PLAIN]
    asked = {"max_new_tokens": 12, "do_sample": False, "batch_size": batch_size, **options}
    ours, theirs = (pipe(prompts, **asked) for pipe in pair)
    assert ours == theirs
    assert list(pair[0](iter(prompts), **asked)) == ours


def _told(calls: list[Any]) -> Any:
    """A function that keeps what it is told, and forbids a token for every second input of a batch."""

    def allowed(item: int, ids: Any) -> list[int]:
        calls.append((item, len(ids)))
        return [token for token in range(40, 90) if token != 60 + item % 2]

    return allowed


WRITTEN: list[dict[str, Any]] = [
    {"guidance_scale": 1.8},
    {"guidance_scale": 2.5, "num_beams": 3},
    {"watermarking_config": transformers.WatermarkingConfig(bias=8.0, greenlist_ratio=0.4)},
    {"watermarking_config": transformers.SynthIDTextWatermarkingConfig(ngram_len=3, keys=[5, 6, 7, 8])},
]


@pytest.mark.parametrize("options", WRITTEN, ids=str)
@pytest.mark.filterwarnings("ignore")
def test_guided_and_watermarked_texts_are_those_of_transformers(options: dict[str, Any], pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    for batch_size in (1, 2):
        asked = {"max_new_tokens": 10, "do_sample": False, "num_beams": 1, "batch_size": batch_size, **options}
        assert ours(MIXED, **asked) == theirs(MIXED, **asked)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.filterwarnings("ignore")
def test_a_function_is_told_the_places_of_transformers(beams: int, pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    prompts = [*MIXED, PLAIN]
    for batch_size in (1, 2, 3):
        asked = {"max_new_tokens": 5, "do_sample": False, "num_beams": beams, "batch_size": batch_size}
        told: list[Any] = []
        expected: list[Any] = []
        assert ours(prompts, prefix_allowed_tokens_fn=_told(told), **asked) == theirs(
            prompts, prefix_allowed_tokens_fn=_told(expected), **asked
        )
        assert {item for item, _ in told} == {item for item, _ in expected} == set(range(batch_size))


READERS: list[dict[str, Any]] = [
    {"no_repeat_ngram_size": 1},
    {"encoder_repetition_penalty": 3.0},
    {"encoder_no_repeat_ngram_size": 1, "num_beams": 2},
    {"sequence_bias": [[[2, 2, 44], 9.0], [[45], -2.0]]},
    {"watermarking_config": {"seeding_scheme": "selfhash", "context_width": 9, "bias": 6.0}},
    {"logits_processor": [lambda ids, scores: scores + (ids[:, :1] % 7) * (scores > 0)]},
]


@pytest.mark.parametrize("options", READERS, ids=lambda value: next(iter(value)))
@pytest.mark.filterwarnings("ignore")
def test_options_that_look_at_padding_see_that_of_transformers(options: dict[str, Any]) -> None:
    model, tokenizer = built("text-generation", "gpt2", "its own length")
    # Padded with the token that ends texts, as GPT-2 is by most.
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    pair = loaded("text-generation", model, tokenizer), reference(model, tokenizer)
    prompts = ["a", *MIXED, "b c", PLAIN]
    for batch_size in (1, 2, 3):
        asked = {"max_new_tokens": 8, "do_sample": False, "num_beams": 1, "batch_size": batch_size, **options}
        ours, theirs = (pipe(prompts, **asked) for pipe in pair)
        assert ours == theirs
