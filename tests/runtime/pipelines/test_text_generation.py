"""Text generation: prompts and chats, what is shown of them, and those that cannot be continued."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest

from edgepipe.errors import InputError
from edgepipe.pipelines.text_generation import TextGeneration
from tests.golden.prove_generation import built, loaded
from tests.golden.suites.text_generation import CHAT, PLAIN, PREFILLED, USER

GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def limited() -> Any:
    """A model that takes no more than 64 tokens."""
    pipe = loaded("text-generation", *built("text-generation", "gpt2", "its own length"))
    pipe.decoder.max_length = 64
    return pipe


@pytest.fixture(scope="module")
def talker() -> Any:
    return loaded("text-generation", *built("text-generation", "llama", "chats"))


def test_a_chat_is_one_input_though_it_is_a_list(talker: TextGeneration) -> None:
    assert talker.is_one(CHAT)
    assert talker.is_one(tuple(CHAT))
    assert talker.is_one(PLAIN)
    assert not talker.is_one([CHAT])
    assert not talker.is_one([PLAIN])
    assert not talker.is_one([])


def test_an_answer_is_a_new_message_or_the_end_of_the_last(talker: Any) -> None:
    new = talker(CHAT, return_full_text=False, **GREEDY)[0]["generated_text"]
    assert talker(CHAT, **GREEDY) == [{"generated_text": [*CHAT, {"role": "assistant", "content": new}]}]
    new = talker(PREFILLED, return_full_text=False, **GREEDY)[0]["generated_text"]
    *before, last = PREFILLED
    whole = {"role": "assistant", "content": last["content"] + new}
    assert talker(PREFILLED, **GREEDY) == [{"generated_text": [*before, whole]}]


def test_lengths_do_not_count_a_prefix_that_nobody_sees(limited: Any) -> None:
    plain = limited.settings({"max_length": 20, "min_length": 9})
    prefixed = limited.settings({"max_length": 20, "min_length": 9, "prefix": PLAIN})
    tokens = len(limited.tokenizer(PLAIN, add_special_tokens=False)["input_ids"])
    assert tokens > 1
    for name in ("max_length", "min_length"):
        assert getattr(prefixed.generation, name) == getattr(plain.generation, name) + tokens
    new = limited.settings({"max_new_tokens": 20, "prefix": PLAIN})
    assert new.generation == limited.settings({"max_new_tokens": 20}).generation


def test_what_a_stream_leaves_out_of_the_whole_result(limited: Any) -> None:
    assert limited.before_stream(PLAIN) == PLAIN
    assert limited.before_stream(CHAT) == ""
    brief = loaded("text-generation", *built("text-generation", "gpt2", "its own length"), return_full_text=False)
    assert brief.before_stream(PLAIN) == ""


def test_messages_that_are_iterated_over_are_one_chat(talker: Any) -> None:
    assert talker(iter(CHAT), **GREEDY) == talker(CHAT, **GREEDY)
    assert list(talker(iter([]), **GREEDY)) == []
    assert talker(tuple(CHAT), **GREEDY) == talker(CHAT, **GREEDY)


@pytest.mark.parametrize("chat", [CHAT, PREFILLED])
def test_a_chat_is_streamed(talker: Any, chat: Any) -> None:
    pieces = list(talker.stream(chat, **GREEDY))
    assert "".join(pieces) == talker(chat, return_full_text=False, **GREEDY)[0]["generated_text"]


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


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad", "méh"]}, "stars": {"enum": [1, 2]}},
    "required": ["mood", "stars"],
    "additionalProperties": False,
}
HELD: dict[str, Any] = {"do_sample": False, "max_new_tokens": 200, "return_full_text": False}


def new_text(result: Any) -> str:
    text: str = result[0]["generated_text"]
    return text


@pytest.mark.parametrize("prompt", [PLAIN, CHAT], ids=["text", "chat"])
def test_an_answer_is_held_to_a_schema(talker: Any, prompt: Any) -> None:
    for more in ({}, {"do_sample": True, "seed": 3}, {"num_beams": 3}, {"return_tensors": False}):
        found = json.loads(new_text(talker(prompt, json_schema=SCHEMA, **HELD | more)))
        assert found["mood"] in {"good", "bad", "méh"}
        assert found["stars"] in {1, 2}
        assert len(found) == 2


@pytest.mark.parametrize(
    "form",
    [{"json_schema": SCHEMA}, {"regex": "[a-c]{3}[0-9]"}, {"choices": ["yes", " no"]}],
    ids=["schema", "regex", "choices"],
)
def test_a_stream_and_a_list_have_the_same_forms(talker: Any, form: dict[str, Any]) -> None:
    inputs = [CHAT, PREFILLED, [USER]]
    alone = [new_text(talker(chat, **HELD, **form)) for chat in inputs]
    assert [new_text(found) for found in talker(inputs, batch_size=2, **HELD, **form)] == alone
    options = {name: value for name, value in HELD.items() if name != "return_full_text"}
    assert ["".join(talker.stream(chat, **options, **form)) for chat in inputs] == alone
    if "choices" in form:
        assert {*alone} <= {"yes", " no"}


def test_a_form_may_be_given_when_the_pipeline_is_made(limited: Any) -> None:
    pipe = loaded("text-generation", *built("text-generation", "gpt2", "its own length"), choices=["yes", "no"])
    assert new_text(pipe(PLAIN, **HELD)) in {"yes", "no"}
    assert new_text(pipe(PLAIN, **HELD, choices=["maybe"])) == "maybe"
    with pytest.raises(InputError, match="regex and choices exclude each other: a text is held to one form"):
        pipe(PLAIN, regex="a")
    assert new_text(pipe(PLAIN, **HELD | {"max_new_tokens": 5}, choices=None)) not in {"yes", "no"}


def test_a_text_that_is_cut_off_is_warned_of(talker: Any) -> None:
    brief = HELD | {"max_new_tokens": 2}
    message = "ends before it is what json_schema asks for, after 2 tokens: it is cut off, and not valid"
    with pytest.warns(UserWarning, match=message) as caught:
        found = talker([CHAT, [USER]], json_schema=SCHEMA, batch_size=2, **brief)
    assert len(caught) == 1
    assert all(new_text(each).startswith("{") for each in found)
    with pytest.warns(UserWarning, match=message):
        list(talker.stream(CHAT, json_schema=SCHEMA, do_sample=False, max_new_tokens=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        talker(CHAT, regex="[a-z]*", **brief)  # which may end anywhere


def test_a_text_that_is_held_to_a_form_is_not_cleaned_up() -> None:
    pipe = loaded("text-generation", *built("text-generation", "gpt2", "its own length"))
    assert new_text(pipe(PLAIN, **HELD, choices=["a , b ."])) == "a , b ."
    with pytest.raises(
        InputError, match="clean_up_tokenization_spaces=True contradicts json_schema, regex and choices"
    ):
        pipe(PLAIN, choices=["a"], clean_up_tokenization_spaces=True)


def test_forms_that_are_none(limited: Any) -> None:
    for options, message in (
        ({"json_schema": "{"}, "json_schema must be a JSON schema, and this is no JSON"),
        ({"json_schema": [1]}, r"json_schema must be a JSON schema, which is an object, got \[1\]"),
        ({"json_schema": {"const": float("nan")}}, "and this is no JSON"),
        ({"json_schema": {"const": {1, 2}}}, "and this is no JSON"),
        ({"json_schema": {"not": {}}}, r'json_schema cannot be followed: Unimplemented keys: \["not"\]'),
        ({"regex": "("}, "regex cannot be followed: unclosed group"),
        ({"regex": 5}, "regex must be a regular expression as a text, got 5"),
        ({"choices": []}, r"choices must be a list of texts, at least one, got \[\]"),
        ({"choices": "yes"}, "choices must be a list of texts, at least one, got 'yes'"),
        ({"choices": ["a", ""]}, "choices must be a text or a list of texts, none of them empty"),
        ({"choices": ["\ud800"]}, "choices holds a lone surrogate"),
        ({"regex": "\ud800"}, "regex holds a lone surrogate"),
        ({"choices": ["a"], "json_schema": True}, "json_schema and choices exclude each other"),
    ):
        with pytest.raises(InputError, match=message):
            limited(PLAIN, **GREEDY, **options)


def test_a_class_of_pydantic_is_a_schema(talker: Any) -> None:
    class Mood:
        """What is used of a model of pydantic's."""

        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return SCHEMA

    options = HELD | {"max_new_tokens": 100}
    assert talker(CHAT, json_schema=Mood, **options) == talker(CHAT, json_schema=json.dumps(SCHEMA), **options)
