"""The messages of a chat, as requests have them and as chat templates know them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from edgepipe.bundle.integrity import parse_json
from edgepipe.serve.protocols.openai.openai_errors import RequestError, refuse_field
from edgepipe.serve.protocols.openai.tool_call_form import ToolSupport


class TextPart(msgspec.Struct):
    """A part of a message."""

    type: str
    text: str | None = None


class CalledFunction(msgspec.Struct):
    """A function that was called, and its arguments as JSON."""

    name: str
    arguments: str


class MessageToolCall(msgspec.Struct):
    """A call of a tool in an earlier answer."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class RequestMessage(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody said. OpenAI's answers have the last fields, so that they come back here, as None."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[MessageToolCall] | None = None
    tool_call_id: str | None = None
    function_call: Any = None
    refusal: str | None = None
    audio: Any = None
    annotations: Any = None


def have_calls(messages: Sequence[RequestMessage]) -> bool:
    """Whether a tool was called in a chat."""
    return any(each.tool_calls or each.role == "tool" for each in messages)


def read_messages(messages: Sequence[RequestMessage], support: ToolSupport | None) -> list[dict[str, Any]]:
    """Messages as chat templates know them: the content is one text, and developers speak as the system.

    Args:
        messages: Of a request.
        support: What the model's template does with tools; needed where one was called.

    Raises:
        RequestError: one has something that is no text, a call that is none, or something that the template leaves out.
    """
    read: list[dict[str, Any]] = []
    called: dict[str, str] = {}
    for place, message in enumerate(messages):
        name = f"messages[{place}]"
        _check_fields(message, name)
        role = "system" if message.role == "developer" else message.role
        given: dict[str, Any] = {"role": role, "content": _read_content(message, name)}
        if message.name is not None:
            given["name"] = message.name
        if message.role == "tool":
            given = _read_result(message, name, called) | given
        if message.tool_calls:
            given["tool_calls"] = [
                _read_call(call, f"{name}.tool_calls[{index}]") for index, call in enumerate(message.tool_calls)
            ]
            called |= {call.id: call.function.name for call in message.tool_calls}
        _check_support(message, name, support)
        read.append(given)
    return read


def _check_fields(message: RequestMessage, name: str) -> None:
    if message.role == "function" or message.function_call:
        raise refuse_field(f"{name}.function_call", "it is OpenAI's older form; send tool_calls, and the role tool")
    if message.audio:
        raise refuse_field(f"{name}.audio", "the server reads text alone; leave it out")
    if message.tool_calls and message.role != "assistant":
        text = f"{name} has tool_calls, which only messages of the assistant have; leave them out"
        raise RequestError(400, text, code="invalid_value", param=f"{name}.tool_calls")
    if message.tool_call_id is not None and message.role != "tool":
        text = f"{name} has a tool_call_id, which only messages of tools have; leave it out"
        raise RequestError(400, text, code="invalid_value", param=f"{name}.tool_call_id")


def _read_content(message: RequestMessage, name: str) -> str:
    content = message.content
    if isinstance(content, list):
        if any(part.type != "text" or part.text is None for part in content):
            raise refuse_field(f"{name}.content", "the server reads text alone; send parts of the type text")
        return "\n".join(part.text or "" for part in content)
    if content is not None:
        return content
    if message.tool_calls:  # templates put it before the calls
        return ""
    raise RequestError(400, f"{name} has no content; send a text", code="invalid_value", param=f"{name}.content")


def _read_result(message: RequestMessage, name: str, called: Mapping[str, str]) -> dict[str, Any]:
    """What a tool gave, with the function's name, which some templates write."""
    param = f"{name}.tool_call_id"
    if message.tool_call_id is None:
        text = f"{name} has no tool_call_id; send that of the call which it answers"
        raise RequestError(400, text, code="missing_required_parameter", param=param)
    if message.tool_call_id not in called:
        text = (
            f"{name} has the tool_call_id {message.tool_call_id!r:.60}, and no call before it has; send the "
            "assistant's message with tool_calls, too"
        )
        raise RequestError(400, text, code="invalid_value", param=param)
    return {"tool_call_id": message.tool_call_id, "name": called[message.tool_call_id]}


def _read_call(call: MessageToolCall, name: str) -> dict[str, Any]:
    """A call with arguments as templates know them, which write them as JSON themselves."""
    try:
        arguments = parse_json(call.function.arguments)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        text = f"{name}: the arguments are no JSON object, got {call.function.arguments!r:.60}"
        raise RequestError(400, text, code="invalid_value", param=f"{name}.function.arguments")
    return {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": arguments}}


def _check_support(message: RequestMessage, name: str, support: ToolSupport | None) -> None:
    """Check that the model is told what a message says of tools."""
    missing = None
    if message.tool_calls and not (support and support.takes_calls):
        missing = f"{name}.tool_calls"
    elif message.role == "tool" and not (support and support.takes_results):
        missing = f"{name}.role"
    if missing:
        raise refuse_field(missing, "the model's chat template leaves calls of tools and their results out")
