"""``/v1/chat/completions``: answers to chats, whole or as server-sent events.

https://platform.openai.com/docs/api-reference/chat. What is refused and ignored is as in ``openai_completions``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from edgepipe.pipelines.generative import GenerativeTask
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
from edgepipe.serve.protocols.openai.openai_messages import RequestMessage, have_calls, read_messages
from edgepipe.serve.protocols.openai.openai_tools import ToolChoice, Tools, ToolUse, read_tools
from edgepipe.serve.protocols.openai.openai_writing import FinishReason, Piece, Usage, WritingRequest, start_choices
from edgepipe.serve.protocols.openai.tool_call_form import find_tool_support
from edgepipe.serve.protocols.openai.tool_call_reader import AnswerReader

ChatFinishReason = Literal["stop", "length", "tool_calls"]

_OLDER = "it is OpenAI's older form; send tools and tool_choice"
_NOT_HERE = "it belongs to OpenAI's own models or accounts; leave it out"


class CreateChatCompletionRequest(WritingRequest, kw_only=True):
    """A chat that is to be answered."""

    messages: Annotated[list[RequestMessage], msgspec.Meta(min_length=1)]
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
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


class AnsweredFunction(msgspec.Struct):
    """A function that the model calls, and its arguments as JSON."""

    name: str
    arguments: str


class AnsweredToolCall(msgspec.Struct):
    """A call of a tool."""

    id: str
    function: AnsweredFunction
    type: Literal["function"] = "function"


class AnswerMessage(msgspec.Struct):
    """An answer; of one that calls tools the content may be null."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    tool_calls: list[AnsweredToolCall] | msgspec.UnsetType = msgspec.UNSET


class ChatChoice(msgspec.Struct):
    """One of the answers."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: ChatFinishReason | None


class ChatCompletion(msgspec.Struct):
    """Answers to a chat."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage
    object: str = "chat.completion"


class FunctionDelta(msgspec.Struct, omit_defaults=True):
    """What is new of a function that is called."""

    arguments: str
    name: str | None = None


class ToolCallDelta(msgspec.Struct, omit_defaults=True):
    """What is new of a call."""

    index: int
    function: FunctionDelta
    id: str | None = None
    type: str | None = None


class ChatDelta(msgspec.Struct, omit_defaults=True):
    """What is new of an answer."""

    role: str | None = None
    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChatChunkChoice(msgspec.Struct):
    """What is new of one of the answers."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: ChatFinishReason | None


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
    uses_tools = request.tools is not None or have_calls(request.messages)
    support = None
    if uses_tools and isinstance(model.task, GenerativeTask):
        support = await asyncio.to_thread(find_tool_support, model.task.tokenizer)
    messages = read_messages(request.messages, support)
    use = await read_tools(
        request.tools,
        request.tool_choice,
        support,
        model,
        context.call,
        parallel=request.parallel_tool_calls is not False,
    )
    _check_tool_use(request, use)
    form = await read_response_format(None if use.is_forced else request.response_format, model)
    choices = await start_choices(
        model,
        [messages],
        request,
        context.call,
        field="messages",
        most=request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens,
        default=None,
        logprobs=wanted,
        begin=use.begin,
        # OpenAI's models answer an assistant's message, and do not go on with it.
        continue_final_message=False,
        **form,
        **use.options,
    )
    words = LogprobWriter(model)
    head: dict[str, Any] = {"id": f"chatcmpl-{context.call.request_id}", **describe_model(model)}
    count = request.n or 1
    readers = [use.start_reader() for _ in range(count)]

    def show_logprobs(piece: Piece) -> ChatLogprobs | None:
        return None if wanted is None else words.for_chat(piece.tokens)

    if not request.stream:
        texts = await collect_texts(choices, count)
        shown = [
            ChatChoice(
                each.choice, _make_message(each.text, reader), show_logprobs(each), _finish(each.finish_reason, reader)
            )
            for each, reader in zip(texts, readers, strict=True)
        ]
        return json_response(
            ChatCompletion(**head, choices=shown, usage=count_usage(choices, [each.count for each in texts]))
        )

    def event(shown: list[ChatChunkChoice], usage: Usage | None) -> ChatCompletionChunk:
        return ChatCompletionChunk(**head, choices=shown, usage=usage if request.includes_usage else msgspec.UNSET)

    def show(piece: Piece) -> Iterable[list[ChatChunkChoice]]:
        reader, logprobs = readers[piece.choice], show_logprobs(piece)
        deltas = _make_deltas(piece, reader)
        if not deltas and logprobs is not None and logprobs.content:
            deltas = [ChatDelta(content="" if reader is None else None)]
        for delta in deltas:
            yield [ChatChunkChoice(piece.choice, delta, logprobs, None)]
            logprobs = None
        if piece.finish_reason is not None:
            yield [ChatChunkChoice(piece.choice, ChatDelta(), None, _finish(piece.finish_reason, reader))]

    first = ChatDelta("assistant", None if use.is_forced else "")
    before = [[ChatChunkChoice(index, first, None, None)] for index in range(count)]
    return await stream_texts(context, model, choices, request, before, show, event)


def _make_message(text: str, reader: AnswerReader | None) -> AnswerMessage:
    """A whole answer."""
    if reader is None:
        return AnswerMessage(text)
    content = ""
    calls: list[AnsweredToolCall] = []
    for each in reader.push(text, is_last=True):
        if each.call is None:
            content += each.text
        elif each.name is not None:
            calls.append(AnsweredToolCall(each.call_id or "", AnsweredFunction(each.name, each.text)))
        else:
            calls[each.call].function.arguments += each.text
    if not calls:
        return AnswerMessage(content)
    return AnswerMessage(content or None, tool_calls=calls)


def _make_deltas(piece: Piece, reader: AnswerReader | None) -> list[ChatDelta]:
    """What is new of an answer."""
    if reader is None:
        return [ChatDelta(content=piece.text)] if piece.text else []
    deltas = []
    for each in reader.push(piece.text, is_last=piece.finish_reason is not None):
        if each.call is None:
            deltas.append(ChatDelta(content=each.text))
        else:
            kind = None if each.name is None else "function"
            function = FunctionDelta(each.text, each.name)
            deltas.append(ChatDelta(tool_calls=[ToolCallDelta(each.call, function, each.call_id, kind)]))
    return deltas


def _finish(reason: FinishReason | None, reader: AnswerReader | None) -> ChatFinishReason | None:
    """Why an answer ends, as clients are told."""
    return "tool_calls" if reason == "stop" and reader is not None and reader.calls else reason


def _check_tool_use(request: CreateChatCompletionRequest, use: ToolUse) -> None:
    """Check that nothing contradicts calls of tools.

    Raises:
        RequestError: something does.
    """
    if use.is_forced and request.stops:
        message = "stop could end a call in its middle; leave it out where tool_choice asks for a call"
        raise RequestError(400, message, code="invalid_parameter_combination", param="stop")
    form = request.response_format
    if use.form is not None and not use.is_forced and form is not None and form.type != "text":
        message = (
            'response_format holds an answer to JSON, and with tool_choice "auto" it may be a call; leave one of them '
            'out, or send tool_choice "none" or "required"'
        )
        raise RequestError(400, message, code="invalid_parameter_combination", param="response_format")


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
    if request.function_call not in (None, "none"):
        raise refuse_field("function_call", _OLDER)
    if request.functions is not None:
        raise refuse_field("functions", _OLDER)
    if request.modalities not in (None, ["text"]):
        raise refuse_field("modalities", "the server writes text alone; leave it out")
    if request.store:
        raise refuse_field("store", _NOT_HERE)
    for name in ("audio", "prediction", "reasoning_effort", "verbosity", "web_search_options"):
        if getattr(request, name) is not None:
            raise refuse_field(name, _NOT_HERE)


OPERATION = Operation(
    "POST",
    "/v1/chat/completions",
    _chat,
    "Answers to a chat",
    CreateChatCompletionRequest,
    ChatCompletion,
    streams=True,
)
