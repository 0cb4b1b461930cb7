"""What the tasks that write text do around the search: batches, streams, lengths, and input that cannot be used."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from edgepipe.bundle.tasks import task_for_architecture
from edgepipe.errors import InputError, TaskError
from edgepipe.pipelines.registry import task_class
from tests.golden.prove_generation import built, loaded
from tests.golden.suites.text_generation import CHAT, MIXED, PLAIN, PREFILLED, USER

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


@pytest.fixture(scope="module")
def talker() -> Any:
    return loaded("text-generation", *built("text-generation", "llama", "chats"))


@pytest.fixture(scope="module")
def translator() -> Any:
    return loaded("translation", *built("translation", "mbart", "plain"))


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


def test_messages_that_are_iterated_over_are_one_chat(talker: Any) -> None:
    assert talker(iter(CHAT), **GREEDY) == talker(CHAT, **GREEDY)
    assert list(talker(iter([]), **GREEDY)) == []
    assert talker(tuple(CHAT), **GREEDY) == talker(CHAT, **GREEDY)


@pytest.mark.parametrize("prompt", [PLAIN, "", "a\U0001f600"])
def test_a_stream_is_the_new_text(writer: Any, prompt: str) -> None:
    options = GREEDY | {"max_new_tokens": 20, "num_beams": 1}
    pieces = list(writer.stream(prompt, **options))
    assert "".join(pieces) == writer(prompt, return_full_text=False, **options)[0]["generated_text"]
    assert len(pieces) > 3


@pytest.mark.parametrize("chat", [CHAT, PREFILLED])
def test_a_chat_is_streamed(talker: Any, chat: Any) -> None:
    pieces = list(talker.stream(chat, **GREEDY))
    assert "".join(pieces) == talker(chat, return_full_text=False, **GREEDY)[0]["generated_text"]


def test_a_translation_is_streamed(translator: Any) -> None:
    options = {"src_lang": "en_XX", "tgt_lang": "fr_XX", "num_beams": 1, "max_new_tokens": 12}
    assert "".join(translator.stream(PLAIN, **options)) == translator(PLAIN, **options)[0]["translation_text"]


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


def test_a_long_prompt_loses_its_beginning(limited: Any) -> None:
    options = GREEDY | {"handle_long_generation": "hole", "return_tensors": True, "eos_token_id": None}
    [result] = limited(PLAIN * 20, **options)
    ids = limited.tokenizer(PLAIN * 20)["input_ids"]
    assert result["generated_token_ids"][:56] == ids[-56:]
    with pytest.raises(InputError, match="70 new tokens leave no room for a prompt within the 64"):
        limited(PLAIN, **options | {"max_new_tokens": 70})
    with pytest.raises(InputError, match="max_length=5 is less than the 12 tokens of the prompt"):
        limited(PLAIN, handle_long_generation="hole", max_length=5, truncation=False)


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (5, {}, "expected a text, or a chat as a list of messages, got int 5"),
    (None, {}, "got NoneType None"),
    (b"bytes", {}, "got bytes"),
    (["a", 5], {}, "input 1: expected a text"),
    (["a", PLAIN * 20], {}, "input 1: the prompt has 240 tokens, more than the 64 .* handle_long_generation"),
    (
        PLAIN,
        {"max_length": 12, "max_new_tokens": None, "truncation": False},
        "max_length=12 leaves no room behind a prompt of 12 tokens",
    ),
    ("\ud800", {}, "lone surrogate"),
    (PLAIN, {"max_new_token": 5}, "has no option 'max_new_token'; did you mean 'max_new_tokens'"),
    (PLAIN, {"return_full_txt": True}, "did you mean 'return_full_text'"),
    (PLAIN, {"return_full_text": "yes"}, "return_full_text must be True or False, got 'yes'"),
    (PLAIN, {"return_full_text": True, "return_tensors": True}, "return_full_text and return_tensors exclude"),
    (PLAIN, {"return_text": True, "return_tensors": True}, "return_text and return_tensors exclude"),
    (PLAIN, {"return_text": True, "return_full_text": False}, "return_full_text and return_text exclude"),
    (PLAIN, {"prefix": 3}, "prefix must be a text, got 3"),
    (PLAIN, {"handle_long_generation": "cut"}, "must be None or 'hole', got 'cut'"),
    (PLAIN, {"tokenizer_encode_kwargs": [1]}, "must be a dict of the tokenizer's arguments"),
    (PLAIN, {"continue_final_message": 2}, "must be True, False or the field to continue, got 2"),
    (PLAIN, {"clean_up_tokenization_spaces": 1}, "must be True or False, got 1"),
    (CHAT, {}, "no chat template"),
    ([CHAT, [USER]], {}, "input 0: the tokenizer has no chat template"),
    ([USER, {"role": "user"}], {}, "message 1 of the chat must be a dict with 'role' and 'content', got"),
    ([[USER], []], {}, "no chat template"),
]


@pytest.mark.parametrize(("prompt", "options", "message"), WRONG, ids=lambda value: f"{value!r:.40}")
def test_what_cannot_be_continued(limited: Any, prompt: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        limited(prompt, **GREEDY | {"num_beams": 1} | options)


def test_an_empty_prompt_without_a_token_to_begin_with(limited: Any) -> None:
    with pytest.raises(InputError, match="the prompt is empty, and the model has no token to begin"):
        limited("", bos_token_id=None, **GREEDY)


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "pass src_lang= and tgt_lang=, e.g. 'en_XX'"),
        ({"src_lang": "en_XX"}, "pass src_lang= and tgt_lang="),
        ({"src_lang": "en", "tgt_lang": "fr_XX"}, "src_lang is 'en', a language that the tokenizer lacks; it has 25"),
        ({"src_lang": "en_XX", "tgt_lang": "fr"}, "tgt_lang is 'fr', a language that the tokenizer lacks"),
    ],
)
def test_languages_that_are_missing(translator: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        translator(PLAIN, **options)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (5, {}, "expected a text, got int 5"),
        ([PLAIN, None], {}, "input 1: expected a text, got NoneType"),
        (PLAIN, {"tgt_langs": "x"}, "did you mean 'tgt_lang'"),
        (PLAIN, {"stop_sequence": 5}, "stop_sequence must be a text, got 5"),
        (PLAIN, {"return_tensors": "np"}, "return_tensors must be True or False, got 'np'"),
    ],
)
def test_what_cannot_be_translated(translator: Any, text: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        translator(text, src_lang="en_XX", tgt_lang="fr_XX", max_new_tokens=4, **options)


def test_the_name_of_a_translation_says_its_languages() -> None:
    model, tokenizer = built("translation", "t5", "params of the task")
    [named] = loaded("translation_en_to_fr", model, tokenizer)(PLAIN, max_new_tokens=8)
    assert [named] == loaded("translation", model, tokenizer)(
        PLAIN, max_new_tokens=8
    )  # the first that the config names
    assert [named] != loaded("translation_en_to_de", model, tokenizer)(PLAIN, max_new_tokens=8)
    with pytest.raises(InputError, match="src_lang is 'en', a language that the tokenizer lacks"):
        loaded("translation_en_to_fr", *built("translation", "mbart", "plain"))
    with pytest.raises(TaskError, match="unknown task 'translation_en'"):
        task_class("translation_en")


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("GPT2LMHeadModel", "text-generation"),
        ("LlamaForCausalLM", "text-generation"),
        ("ReformerModelWithLMHead", "text-generation"),
        ("XLNetLMHeadModel", "text-generation"),
        ("T5ForConditionalGeneration", "text2text-generation"),
        ("MarianMTModel", "text2text-generation"),
        ("BertModel", "feature-extraction"),
        ("GPT2Model", "feature-extraction"),
        ("GPT2DoubleHeadsModel", None),
        ("BartForSequenceClassification", "text-classification"),
    ],
)
def test_the_task_of_an_architecture(architecture: str, task: str | None) -> None:
    assert task_for_architecture([architecture]) == task
