"""``/v1/completions``: texts behind prompts, whole or as server-sent events.

https://platform.openai.com/docs/api-reference/completions. Fields that OpenAI has and this server has not are refused,
those of no consequence for the answer are ignored, and unknown ones are refused as OpenAI refuses them;
docs/reference/serve-openai.md lists all.
"""

from __future__ import annotations

from typing import Annotated, Any

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
from edgepipe.serve.protocols.openai.openai_errors import find_model, read_body, refuse_field
from edgepipe.serve.protocols.openai.openai_logprobs import CompletionLogprobs, LogprobWriter
from edgepipe.serve.protocols.openai.openai_writing import FinishReason, Piece, Usage, WritingRequest, start_choices

# How many tokens a completion has where the request does not say.
_COMPLETION_TOKENS = 16

_TOKEN_IDS = "token ids are those of another tokenizer for all that the server knows; send the text"


class CreateCompletionRequest(WritingRequest, kw_only=True):
    """A prompt, or several."""

    prompt: str | Annotated[list[Any], msgspec.Meta(min_length=1)] = ""
    echo: bool | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None
    suffix: str | None = None
    best_of: int | None = None


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


async def _complete(context: Context) -> Response:
    request = read_body(context, CreateCompletionRequest)
    model = find_model(context, request.model)
    prompts = _read_prompts(request)
    check_stream_options(request)
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
    words = LogprobWriter(model)
    head: dict[str, Any] = {
        "id": f"cmpl-{context.call.request_id}", "object": "text_completion", **describe_model(model)
    }  # fmt: skip
    echoed = [prompt if request.echo else "" for prompt in prompts for _ in range(request.n or 1)]

    def show(piece: Piece) -> CompletionChoice:
        logprobs = None if request.logprobs is None else words.for_completion(piece.tokens, request.logprobs)
        return CompletionChoice(piece.text, piece.choice, logprobs, piece.finish_reason)

    if not request.stream:
        texts = await collect_texts(choices, len(echoed))
        usage = count_usage(choices, [each.count for each in texts])
        shown = [show(each) for each in texts]
        for each, prompt in zip(shown, echoed, strict=True):
            each.text = prompt + each.text
        return json_response(Completion(**head, choices=shown, usage=usage))

    def event(shown: list[CompletionChoice], usage: Usage | None) -> Completion:
        return Completion(**head, choices=shown, usage=usage if request.includes_usage else msgspec.UNSET)

    before = [[CompletionChoice(text, index, None, None)] for index, text in enumerate(echoed) if text]
    return await stream_texts(context, model, choices, request, before, lambda piece: [[show(piece)]], event)


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


OPERATION = Operation(
    "POST", "/v1/completions", _complete, "Texts behind prompts", CreateCompletionRequest, Completion, streams=True
)
