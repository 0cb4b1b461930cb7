"""What the answers of completions and chats share: whole texts, streams that end in ``[DONE]``, and the usage."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.responses import Response

from edgepipe.serve.endpoint import Context, EventStream, describe_error, status_of
from edgepipe.serve.protocols.openai.openai_errors import RequestError, make_error
from edgepipe.serve.protocols.openai.openai_writing import Choices, Piece, PromptTokensDetails, Usage, WritingRequest
from edgepipe.serve.served_model import ServedModel


async def collect_texts(choices: Choices, count: int) -> list[Piece]:
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


async def stream_texts(
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
            yield _encode(event([], count_usage(choices, counts.values())))
        yield "[DONE]"

    return EventStream(events(), context.call, model.limits.read)


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def describe_model(model: ServedModel) -> dict[str, Any]:
    """What all answers of a model say; the fingerprint changes with the bundle."""
    return {"created": int(time.time()), "model": model.name, "system_fingerprint": f"fp_{model.version}"}


def count_usage(choices: Choices, written: Iterable[int]) -> Usage:
    """How many tokens went in and came out, from how many were written for each text."""
    new = sum(written)
    details = PromptTokensDetails(choices.cached_tokens)
    return Usage(choices.prompt_tokens, new, choices.prompt_tokens + new, details)


def check_stream_options(request: WritingRequest) -> None:
    """Check that only streams have options of streams.

    Raises:
        RequestError: another has.
    """
    if request.stream_options is not None and not request.stream:
        message = "stream_options are for streams; set stream to true, or leave them out"
        raise RequestError(400, message, code="invalid_parameter_combination", param="stream_options")
