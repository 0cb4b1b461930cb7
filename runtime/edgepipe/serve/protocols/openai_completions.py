"""``/v1/completions`` and ``/v1/chat/completions``: whole, or as server-sent events that end in ``[DONE]``.

https://platform.openai.com/docs/api-reference/completions and ``/chat``. Fields that OpenAI has and this server has not
are refused, those of no consequence for the answer are ignored, and unknown ones are refused as OpenAI refuses them;
docs/reference/serve-openai.md lists all.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from edgepipe.serve.endpoint import Context, EventStream, Operation, describe_error, json_response, status_of
from edgepipe.serve.protocols.openai_errors import (
    RequestError,
    find_model,
    make_error,
    read_body,
    refuse_field,
)
from edgepipe.serve.protocols.openai_formats import ResponseFormat, read_response_format
from edgepipe.serve.protocols.openai_writing import (
    Choices,
    FinishReason,
    Piece,
    Usage,
    WritingRequest,
    WrittenToken,
    start_choices,
)
from edgepipe.serve.served_model import ServedModel
from edgepipe.tokenization.token_bytes import TokenBytes

# How many tokens a completion has where the request does not say; a chat's answer goes on while there is room.
_COMPLETION_TOKENS = 16

# What OpenAI gives for a logarithm of 0, which JSON cannot write.
_IMPOSSIBLE = -9999.0

_TOKEN_IDS = "token ids are those of another tokenizer for all that the server knows; send the text"
_NO_TOOLS = "the server reads no calls of tools; leave it out"
_NOT_HERE = "it belongs to OpenAI's own models or accounts; leave it out"


class CreateCompletionRequest(WritingRequest, kw_only=True):
    """A prompt, or several."""

    prompt: str | Annotated[list[Any], msgspec.Meta(min_length=1)] = ""
    echo: bool | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None
    suffix: str | None = None
    best_of: int | None = None


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


class CompletionLogprobs(msgspec.Struct):
    """What the model thought of each token of a completion."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class CompletionChoice(msgspec.Struct):
    """A text, or a part of it in a stream."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None


class Completion(msgspec.Struct):
    """Texts, or a part of one in a stream."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET


class TopLogprob(msgspec.Struct):
    """A token and its log-probability."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """A token that was written, and what else could have been."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(msgspec.Struct):
    """What the model thought of each token of an answer."""

    content: list[TokenLogprob]
    refusal: None = None


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


async def _complete(context: Context) -> Response:
    request = read_body(context, CreateCompletionRequest)
    model = find_model(context, request.model)
    prompts = _read_prompts(request)
    _check_stream_options(request)
    choices = await start_choices(
        model,
        prompts,
        request,
        context.call,
        field="prompt",
        most=request.max_tokens,
        default=_COMPLETION_TOKENS,
        logprobs=request.logprobs,
    )
    words = _Tokens(model)
    head: dict[str, Any] = {
        "id": f"cmpl-{context.call.request_id}", "object": "text_completion", **_describe(model)
    }  # fmt: skip
    echoed = [prompt if request.echo else "" for prompt in prompts for _ in range(request.n or 1)]

    def show(piece: Piece) -> CompletionChoice:
        logprobs = None if request.logprobs is None else words.for_completion(piece.tokens, request.logprobs)
        return CompletionChoice(piece.text, piece.choice, logprobs, piece.finish_reason)

    if not request.stream:
        texts = await _collect(choices, len(echoed))
        usage = _count(choices, [each.count for each in texts])
        shown = [show(each) for each in texts]
        for each, prompt in zip(shown, echoed, strict=True):
            each.text = prompt + each.text
        return json_response(Completion(**head, choices=shown, usage=usage))

    def event(shown: list[CompletionChoice], usage: Usage | None) -> Completion:
        return Completion(**head, choices=shown, usage=usage if request.includes_usage else msgspec.UNSET)

    before = [[CompletionChoice(text, index, None, None)] for index, text in enumerate(echoed) if text]
    return await _stream(context, model, choices, request, before, lambda piece: [[show(piece)]], event)


async def _chat(context: Context) -> Response:
    request = read_body(context, CreateChatCompletionRequest)
    model = find_model(context, request.model)
    _check_chat(request)
    _check_stream_options(request)
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
    words = _Tokens(model)
    head: dict[str, Any] = {"id": f"chatcmpl-{context.call.request_id}", **_describe(model)}
    count = request.n or 1

    def show_logprobs(piece: Piece) -> ChatLogprobs | None:
        return None if wanted is None else words.for_chat(piece.tokens)

    if not request.stream:
        texts = await _collect(choices, count)
        shown = [
            ChatChoice(each.choice, AnswerMessage(each.text), show_logprobs(each), each.finish_reason) for each in texts
        ]
        return json_response(
            ChatCompletion(**head, choices=shown, usage=_count(choices, [each.count for each in texts]))
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
    return await _stream(context, model, choices, request, before, show, event)


class _Tokens:
    """Writes what a model thought of tokens."""

    def __init__(self, model: ServedModel) -> None:
        self._bytes = TokenBytes(model.task.tokenizer)

    def for_completion(self, tokens: Sequence[WrittenToken], wanted: int) -> CompletionLogprobs:
        """Lists beside each other, as completions have them."""
        shown = CompletionLogprobs([], [], [] if wanted else None, [])
        for each in tokens:
            assert each.logprobs is not None, "it was asked for"
            name, chosen = self._name(each.token_id), _finite(each.logprobs.chosen)
            shown.tokens.append(name)
            shown.token_logprobs.append(chosen)
            shown.text_offset.append(each.start)
            if shown.top_logprobs is not None:
                best = {self._name(token): _finite(logprob) for token, logprob in reversed(each.logprobs.best)}
                shown.top_logprobs.append(dict(reversed(best.items())) | {name: chosen})
        return shown

    def for_chat(self, tokens: Sequence[WrittenToken]) -> ChatLogprobs:
        """A record for each token, as chats have them."""
        content = []
        for each in tokens:
            assert each.logprobs is not None, "it was asked for"
            best = [TopLogprob(*self._describe(token, logprob)) for token, logprob in each.logprobs.best]
            content.append(TokenLogprob(*self._describe(each.token_id, each.logprobs.chosen), best))
        return ChatLogprobs(content)

    def _describe(self, token: int, logprob: float) -> tuple[str, float, list[int] | None]:
        found = self._bytes[token]
        if found is None:
            return "", _finite(logprob), None
        return found.decode(errors="replace"), _finite(logprob), list(found)

    def _name(self, token: int) -> str:
        """The token's text; as OpenAI writes it where that is no whole character."""
        found = self._bytes[token] or b""
        try:
            return found.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in found)


async def _collect(choices: Choices, count: int) -> list[Piece]:
    """Each text as one piece."""
    parts: list[list[Piece]] = [[] for _ in range(count)]
    async with aclosing(choices.pieces()) as pieces:
        async for piece in pieces:
            parts[piece.choice].append(piece)
    return [
        Piece(
            index,
            "".join(each.text for each in part),
            [token for each in part for token in each.tokens],
            part[-1].finish_reason,
            part[-1].count,
        )
        for index, part in enumerate(parts)
    ]


async def _stream(
    context: Context,
    model: ServedModel,
    choices: Choices,
    request: WritingRequest,
    before: Sequence[Any],
    show: Callable[[Piece], Iterable[Any]],
    event: Callable[[Any, Usage | None], Any],
) -> Response:
    """The texts as they come, once the first piece is there: until then an error still has its status."""
    pieces = choices.pieces()
    first = await anext(pieces)

    async def events() -> AsyncGenerator[str, None]:
        counts: dict[int, int] = {}
        try:
            async with aclosing(pieces):
                for shown in before:
                    yield _encode(event(shown, None))
                piece: Piece | None = first
                while piece is not None:
                    counts[piece.choice] = piece.count
                    for shown in show(piece):
                        yield _encode(event(shown, None))
                    piece = await anext(pieces, None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told, and the stream ends
            yield _encode(describe_error(error, status_of(error), context.call, make_error))
            return
        if request.includes_usage:
            yield _encode(event([], _count(choices, counts.values())))
        yield "[DONE]"

    return EventStream(events(), context.call, model.limits.read)


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _describe(model: ServedModel) -> dict[str, Any]:
    """What all answers of a model say; the fingerprint changes with the bundle."""
    return {"created": int(time.time()), "model": model.name, "system_fingerprint": f"fp_{model.version}"}


def _count(choices: Choices, written: Iterable[int]) -> Usage:
    new = sum(written)
    return Usage(choices.prompt_tokens, new, choices.prompt_tokens + new)


def _finite(logprob: float) -> float:
    return max(logprob, _IMPOSSIBLE)


def _read_prompts(request: CreateCompletionRequest) -> list[str]:
    """The prompts, as texts.

    Raises:
        RequestError: one is none, or a field is not served.
    """
    prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
    if not all(isinstance(each, str) for each in prompts):
        raise refuse_field("prompt", _TOKEN_IDS)
    if request.suffix:
        raise refuse_field("suffix", "the server writes behind a prompt alone; leave it out")
    if request.best_of is not None and request.best_of != (request.n or 1):
        raise refuse_field("best_of", "all texts that are written are given; ask for them with n")
    if request.echo and request.logprobs is not None:
        raise refuse_field("echo", "with logprobs it would need those of the prompt; leave one of them out")
    return prompts


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


def _check_stream_options(request: WritingRequest) -> None:
    if request.stream_options is not None and not request.stream:
        message = "stream_options are for streams; set stream to true, or leave them out"
        raise RequestError(400, message, code="invalid_parameter_combination", param="stream_options")


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


OPERATIONS = (
    Operation(
        "POST",
        "/v1/completions",
        _complete,
        "Texts behind prompts",
        CreateCompletionRequest,
        Completion,
        streams=True,
    ),
    Operation(
        "POST",
        "/v1/chat/completions",
        _chat,
        "Answers to a chat",
        CreateChatCompletionRequest,
        ChatCompletion,
        streams=True,
    ),
)
