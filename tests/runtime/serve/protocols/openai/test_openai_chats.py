"""Chats, asked by OpenAI's own client: what they write is what the pipeline writes."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.runtime.serve.protocols.openai.conftest import (
    GREEDY,
    MESSAGES,
    Writers,
    check_error,
    join,
)


@pytest.mark.parametrize("options", [{"temperature": 0}, {"seed": 4}], ids=["greedy", "seed"])
def test_chats_are_those_of_the_pipeline(writers: Writers, options: dict[str, Any]) -> None:
    found = writers.client.chat.completions.create(model="chat", messages=MESSAGES, max_tokens=20, **options)
    search = {"do_sample": False} if "temperature" in options else {"do_sample": True, **options}
    expected = writers.write(MESSAGES, "chat", max_new_tokens=20, **search)
    assert found.choices[0].message.content == expected
    assert found.choices[0].message.role == "assistant"
    assert found.id.startswith("chatcmpl-")
    again = writers.client.chat.completions.create(
        model="chat", messages=MESSAGES, max_completion_tokens=20, **options, stream=True
    )
    chunks = list(again)
    assert chunks[0].choices[0].delta.role == "assistant"
    texts, ends, _, _ = join(chunks)
    assert (texts[0], ends[0]) == (expected, found.choices[0].finish_reason)
    assert chunks[-1].choices[0].delta.content is None


def test_parts_of_a_message_are_lines_and_developers_speak_as_the_system(writers: Writers) -> None:
    plain = [{"role": "system", "content": "One\nTwo"}, {"role": "user", "content": "Hi"}]
    parts = [
        {"role": "developer", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
        {"role": "user", "content": "Hi", "name": "Ada"},
    ]
    found = [
        writers.client.chat.completions.create(model="chat", messages=each, **GREEDY).choices[0].message.content  # type: ignore[arg-type]
        for each in (plain, parts)
    ]
    assert found[0] == found[1]


def test_an_assistant_at_the_end_gets_another_answer(writers: Writers) -> None:
    """OpenAI's models begin a new message; the pipeline goes on with the last one unless it is told not to."""
    found = writers.client.chat.completions.create(model="chat", messages=MESSAGES[:3], **GREEDY)
    task = writers.tasks["chat"]
    answer = task(
        MESSAGES[:3], do_sample=False, max_new_tokens=20, return_full_text=False, continue_final_message=False
    )
    assert found.choices[0].message.content == answer[0]["generated_text"]


def test_an_answer_can_be_sent_back(writers: Writers) -> None:
    first = writers.client.chat.completions.create(model="chat", messages=MESSAGES, **GREEDY).choices[0].message
    history = [*MESSAGES, first.model_dump(), {"role": "user", "content": "And?"}]
    assert writers.client.chat.completions.create(model="chat", messages=history, **GREEDY).choices


def test_a_chat_goes_on_while_the_model_has_room(writers: Writers) -> None:
    end = {"2": -100}
    asked: dict[str, Any] = {"model": "chat", "messages": MESSAGES, "temperature": 0, "logit_bias": end}
    whole: Any = writers.client.chat.completions.create(**asked, timeout=120)
    assert whole.usage.total_tokens == 4096
    assert whole.choices[0].finish_reason == "length"


CHATS: list[Any] = [
    pytest.param({"messages": []}, "messages", "invalid_value", id="no message"),
    pytest.param({"messages": "Hi"}, "messages", "invalid_type", id="text"),
    pytest.param({"messages": [{"role": "user"}]}, "messages[0].content", "invalid_value", id="no content"),
    pytest.param({"messages": [{"content": "a"}]}, "role", "missing_required_parameter", id="no role"),
    pytest.param({"messages": [{"role": "king", "content": "a"}]}, "messages[0].role", "invalid_value", id="role"),
    pytest.param(
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
        "messages[0].content", "unsupported_parameter", id="image",
    ),
    pytest.param(
        {"messages": [{"role": "tool", "content": "4", "tool_call_id": "x"}]},
        "messages[0].tool_call_id", "invalid_value", id="tool's answer",
    ),
    pytest.param({"functions": []}, "functions", "unsupported_parameter", id="functions"),
    pytest.param({"modalities": ["text", "audio"]}, "modalities", "unsupported_parameter", id="sound"),
    pytest.param({"reasoning_effort": "low"}, "reasoning_effort", "unsupported_parameter", id="reasoning"),
    pytest.param({"store": True}, "store", "unsupported_parameter", id="store"),
    pytest.param({"top_logprobs": 2}, "top_logprobs", "invalid_parameter_combination", id="top_logprobs alone"),
    pytest.param({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value", id="top_logprobs"),
    pytest.param(
        {"max_tokens": 3, "max_completion_tokens": 3}, "max_tokens", "invalid_parameter_combination", id="two lengths"
    ),
    pytest.param({"model": "gpt2"}, None, None, id="no template"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "param", "code"), CHATS)
def test_chats_that_are_refused(writers: Writers, body: Any, param: Any, code: Any) -> None:
    check_error(writers.post("chat/completions", {"model": "chat", "messages": MESSAGES} | body), param, code)


@pytest.mark.parametrize("body", [b"{", b'"\xff"', b"[]", b""], ids=["half", "no UTF-8", "list", "nothing"])
def test_bodies_that_are_no_request(writers: Writers, body: bytes) -> None:
    check_error(writers.post("chat/completions", body), None, None)


def test_a_model_without_a_template_says_so(writers: Writers) -> None:
    with pytest.raises(openai.BadRequestError, match="has no chat template"):
        writers.client.chat.completions.create(model="gpt2", messages=MESSAGES)


def test_fields_that_change_nothing_are_taken(writers: Writers) -> None:
    found = writers.client.chat.completions.create(
        model="chat", messages=MESSAGES, **GREEDY, user="ada", metadata={"a": "b"}, store=False, service_tier="auto",
        response_format={"type": "text"}, modalities=["text"], tool_choice="none", safety_identifier="x",
        prompt_cache_key="y", parallel_tool_calls=False,
    )  # fmt: skip
    assert found.choices[0].message.content == writers.write(MESSAGES, "chat", do_sample=False, max_new_tokens=20)
