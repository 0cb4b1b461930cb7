"""``/v1/chat/completions``: answers to chats, whole or as server-sent events.

https://platform.openai.com/docs/api-reference/chat. What is refused and ignored is as in ``openai_completions``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from edgepipe.serve.endpoint import Context, Operation, json_response
from edgepipe.serve.protocols.openai.openai_answers import (
    check_stream_options,
    collect_texts,
    count_usage,
    describe_model,
    stream_texts,
)
from edgepipe.serve.protocols.openai.openai_errors import RequestError, find_model, read_body, refuse_field
from edgepipe.serve.protocols.openai.openai_formats import ResponseFormat, read_response_format
from edgepipe.serve.protocols.openai.openai_logprobs import ChatLogprobs, LogprobWriter
from edgepipe.serve.protocols.openai.openai_writing import FinishReason, Piece, Usage, WritingRequest, start_choices

_NO_TOOLS = "the server reads no calls of tools; leave it out"
_NOT_HERE = "it belongs to OpenAI's own models or accounts; leave it out"


class TextPart(msgspec.Struct):
    """A part of a message."""

    type: str
    text: str | None = None


class RequestMessage(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody said. OpenAI's answers have the last fields, so that they come back here, as None."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: Any = None
    tool_call_id: str | None = None
    function_call: Any = None
    refusal: str | None = None
    audio: Any = None
    annotations: Any = None


class CreateChatCompletionRequest(WritingRequest, kw_only=True):
    """A chat that is to be answered."""

    messages: Annotated[list[RequestMessage], msgspec.Meta(min_length=1)]
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Any = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    functions: Any = None
    function_call: Any = None
    modalities: list[str] | None = None
    audio: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None
    web_search_options: Any = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


class AnswerMessage(msgspec.Struct):
    """An answer."""

    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None


class ChatChoice(msgspec.Struct):
    """One of the answers."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatCompletion(msgspec.Struct):
    """Answers to a chat."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage
    object: str = "chat.completion"


class ChatDelta(msgspec.Struct, omit_defaults=True):
    """What is new of an answer."""

    role: str | None = None
    content: str | None = None


class ChatChunkChoice(msgspec.Struct):
    """What is new of one of the answers."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatCompletionChunk(msgspec.Struct):
    """An event of a stream."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    object: str = "chat.completion.chunk"
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET


async def _chat(context: Context) -> Response:
    request = read_body(context, CreateChatCompletionRequest)
    model = find_model(context, request.model)
    _check_chat(request)
    check_stream_options(request)
    wanted = None if not request.logprobs else request.top_logprobs or 0
    form = await read_response_format(request.response_format, model)
    choices = await start_choices(
        model,
        [[_read_message(each, place) for place, each in enumerate(request.messages)]],
        request,
        context.call,
        field="messages",
        most=request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens,
        default=None,
        logprobs=wanted,
        # OpenAI's models answer an assistant's message, and do not go on with it.
        continue_final_message=False,
        **form,
    )
    words = LogprobWriter(model)
    head: dict[str, Any] = {"id": f"chatcmpl-{context.call.request_id}", **describe_model(model)}
    count = request.n or 1

    def show_logprobs(piece: Piece) -> ChatLogprobs | None:
        return None if wanted is None else words.for_chat(piece.tokens)

    if not request.stream:
        texts = await collect_texts(choices, count)
        shown = [
            ChatChoice(each.choice, AnswerMessage(each.text), show_logprobs(each), each.finish_reason) for each in texts
        ]
        return json_response(
            ChatCompletion(**head, choices=shown, usage=count_usage(choices, [each.count for each in texts]))
        )

    def event(shown: list[ChatChunkChoice], usage: Usage | None) -> ChatCompletionChunk:
        return ChatCompletionChunk(**head, choices=shown, usage=usage if request.includes_usage else msgspec.UNSET)

    def show(piece: Piece) -> Iterable[list[ChatChunkChoice]]:
        logprobs = show_logprobs(piece)
        if piece.text or (logprobs is not None and logprobs.content):
            yield [ChatChunkChoice(piece.choice, ChatDelta(content=piece.text), logprobs, None)]
        if piece.finish_reason is not None:
            yield [ChatChunkChoice(piece.choice, ChatDelta(), None, piece.finish_reason)]

    before = [[ChatChunkChoice(index, ChatDelta("assistant", ""), None, None)] for index in range(count)]
    return await stream_texts(context, model, choices, request, before, show, event)


def _check_chat(request: CreateChatCompletionRequest) -> None:
    """Check the fields that completions have not.

    Raises:
        RequestError: one is not served, or two exclude each other.
    """
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        message = "max_tokens and max_completion_tokens are two names of one field; give one of them"
        raise RequestError(400, message, code="invalid_parameter_combination", param="max_tokens")
    if request.top_logprobs is not None and not request.logprobs:
        message = "top_logprobs are given with logprobs alone; set logprobs to true"
        raise RequestError(400, message, code="invalid_parameter_combination", param="top_logprobs")
    if request.tool_choice not in (None, "none"):
        raise refuse_field("tool_choice", _NO_TOOLS)
    if request.function_call not in (None, "none"):
        raise refuse_field("function_call", _NO_TOOLS)
    if request.modalities not in (None, ["text"]):
        raise refuse_field("modalities", "the server writes text alone; leave it out")
    if request.store:
        raise refuse_field("store", _NOT_HERE)
    for name in ("tools", "functions"):
        if getattr(request, name) is not None:
            raise refuse_field(name, _NO_TOOLS)
    for name in ("audio", "prediction", "reasoning_effort", "verbosity", "web_search_options"):
        if getattr(request, name) is not None:
            raise refuse_field(name, _NOT_HERE)


def _read_message(message: RequestMessage, place: int) -> dict[str, Any]:
    """A message as chat templates know it: the content is one text, and developers speak as the system.

    Raises:
        RequestError: it has something that is no text.
    """
    name = f"messages[{place}]"
    if message.role in ("tool", "function") or message.tool_calls or message.function_call or message.tool_call_id:
        raise refuse_field(f"{name}.tool_calls", _NO_TOOLS)
    if message.audio:
        raise refuse_field(f"{name}.audio", "the server reads text alone; leave it out")
    content = message.content
    if isinstance(content, list):
        if any(part.type != "text" or part.text is None for part in content):
            raise refuse_field(f"{name}.content", "the server reads text alone; send parts of the type text")
        content = "\n".join(part.text or "" for part in content)
    if content is None:
        raise RequestError(400, f"{name} has no content; send a text", code="invalid_value", param=f"{name}.content")
    role = "system" if message.role == "developer" else message.role
    return {"role": role, "content": content} | ({} if message.name is None else {"name": message.name})


OPERATION = Operation(
    "POST",
    "/v1/chat/completions",
    _chat,
    "Answers to a chat",
    CreateChatCompletionRequest,
    ChatCompletion,
    streams=True,
)
