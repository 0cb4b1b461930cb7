"""Messages of requests: what chat templates get of them, and which are refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgepipe.serve.protocols.openai.openai_errors import RequestError
from edgepipe.serve.protocols.openai.openai_messages import RequestMessage, have_calls, read_messages
from edgepipe.serve.protocols.openai.tool_call_form import ToolSupport
from tests.runtime.serve.tool_templates import USER, call_tool

ALL = ToolSupport(takes_tools=True, takes_calls=True, takes_results=True, form=None)
CALL = {"role": "assistant", "content": None, "tool_calls": [call_tool("find", '{"a": "ü"}', "x1")]}
RESULT = {"role": "tool", "tool_call_id": "x1", "content": "17"}


def read(messages: list[Any], support: ToolSupport | None = ALL) -> list[dict[str, Any]]:
    return read_messages(msgspec.convert(messages, list[RequestMessage]), support)


def test_plain_messages() -> None:
    parts = [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]
    messages = [{"role": "developer", "content": parts}, {"role": "user", "content": "Hi", "name": "Ada"}]
    assert read(messages, None) == [
        {"role": "system", "content": "One\nTwo"},
        {"role": "user", "content": "Hi", "name": "Ada"},
    ]


def test_calls_and_their_results() -> None:
    """Arguments become values, which templates write as JSON, and a result has the name of its function."""
    assert read([USER, CALL, RESULT]) == [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call_tool("find", {"a": "ü"}, "x1")]},
        {"role": "tool", "tool_call_id": "x1", "name": "find", "content": "17"},
    ]
    assert read([USER, CALL, RESULT | {"name": "other"}])[2]["name"] == "other"
    assert read([USER, {**CALL, "tool_calls": []} | {"content": "No."}], None)[1] == {
        "role": "assistant",
        "content": "No.",
    }


def test_whether_a_tool_was_called() -> None:
    kinds = [[USER], [USER, CALL], [RESULT]]
    assert [have_calls(msgspec.convert(each, list[RequestMessage])) for each in kinds] == [False, True, True]


def with_arguments(arguments: str) -> dict[str, Any]:
    return CALL | {"tool_calls": [call_tool("find", "{}", "x1"), call_tool("find", arguments, "x2")]}


WRONG: list[Any] = [
    pytest.param([{"role": "user"}], ALL, "messages[0].content", "invalid_value", id="no content"),
    pytest.param([USER, {"role": "assistant"}], ALL, "messages[1].content", "invalid_value", id="no answer"),
    pytest.param(
        [USER | {"content": [{"type": "image_url"}]}], ALL, "messages[0].content", "unsupported_parameter", id="image"
    ),
    pytest.param(
        [{"role": "function", "content": "1", "name": "a"}],
        ALL,
        "messages[0].function_call",
        "unsupported_parameter",
        id="function",
    ),
    pytest.param(
        [USER | {"tool_calls": CALL["tool_calls"]}], ALL, "messages[0].tool_calls", "invalid_value", id="a user calls"
    ),
    pytest.param(
        [USER | {"tool_call_id": "x1"}], ALL, "messages[0].tool_call_id", "invalid_value", id="a user answers a call"
    ),
    pytest.param(
        [USER, with_arguments("{")], ALL, "messages[1].tool_calls[1].function.arguments", "invalid_value", id="no JSON"
    ),
    pytest.param(
        [USER, with_arguments("[]")], ALL, "messages[1].tool_calls[1].function.arguments", "invalid_value", id="a list"
    ),
    pytest.param(
        [USER, CALL, {"role": "tool", "content": "1"}],
        ALL,
        "messages[2].tool_call_id",
        "missing_required_parameter",
        id="no id",
    ),
    pytest.param(
        [USER, CALL, RESULT | {"tool_call_id": "x9"}], ALL, "messages[2].tool_call_id", "invalid_value", id="another id"
    ),
    pytest.param(
        [USER, CALL],
        ToolSupport(True, False, True, None),
        "messages[1].tool_calls",
        "unsupported_parameter",
        id="template without calls",
    ),
    pytest.param(
        [USER, CALL, RESULT],
        ToolSupport(True, True, False, None),
        "messages[2].role",
        "unsupported_parameter",
        id="template without results",
    ),
]


@pytest.mark.parametrize(("messages", "support", "param", "code"), WRONG)
def test_messages_that_are_refused(messages: list[Any], support: ToolSupport, param: str, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(messages, support)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
