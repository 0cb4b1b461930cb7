"""Text generation: prompts and chats, what is shown of them, and those that cannot be continued."""

from __future__ import annotations

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
