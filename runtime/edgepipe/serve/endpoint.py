"""A route: from the bytes of a request to those of its answer, errors in the shape of its protocol included."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edgepipe.caller_warnings import collect_warnings
from edgepipe.errors import (
    ClosedError,
    DependencyError,
    EdgepipeError,
    InputError,
    OutOfMemoryError,
    TaskError,
    escape_controls,
)
from edgepipe.serve.call import Call, CancelledCallError, RefusedError, gone_error, late_error, read_call
from edgepipe.serve.repository import Repository
from edgepipe.serve.settings import Limits

_log = logging.getLogger("edgepipe.serve")

Body = TypeVar("Body")

# What a client that went away would get: nginx's status, which only logs and metrics see.
_CLIENT_CLOSED = 499

# How many warnings go beside an answer, and how many characters of each.
_MOST_WARNINGS = 10
_WARNING_LENGTH = 300


class Context:
    """A request, as a handler sees it.

    Attributes:
        call: Who asks, until when, how urgently.
        repository: The models.
        body: The bytes of the body.
        path: The parameters of the route's path.
        headers: By lower-case names.
        client: The address of who asks.
    """

    def __init__(self, request: Request, call: Call, repository: Repository, body: bytes) -> None:
        self.call = call
        self.repository = repository
        self.body = body
        self.path: Mapping[str, str] = request.path_params
        self.headers: Mapping[str, str] = request.headers
        self.client: str = request.client.host if request.client else ""

    def read(self, kind: type[Body]) -> Body:
        """The body, as a type of msgspec's.

        Raises:
            InputError: it is no JSON, or has not the form.
        """
        return parse_body(self.body, kind)


def parse_body(body: bytes, kind: type[Body]) -> Body:
    """JSON as a type of msgspec's.

    Raises:
        InputError: it is no JSON, or has not the form.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise InputError(f"the request does not fit: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"the request is not JSON in UTF-8: {error}") from error
    except RecursionError as error:
        raise InputError("the request is nested too deeply") from error


Handler = Callable[[Context], Awaitable[Response]]
ErrorBody = Callable[[int, str, Exception], Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One route of a protocol.

    Attributes:
        method: ``"GET"`` or ``"POST"``.
        path: As Starlette has it, e.g. ``"/v2/models/{model}"``.
        handler: Answers.
        summary: One line for people.
        body: What it takes, a type of msgspec's; None for nothing.
        answer: What it gives.
        is_open: Whether it may be asked without a key.
        content: The media type of its answer.
        streams: Whether it may answer with server-sent events instead.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    body: Any = None
    answer: Any = None
    is_open: bool = False
    content: str = "application/json"
    streams: bool = False


def status_of(error: Exception) -> int:
    """The HTTP status that an error becomes."""
    if isinstance(error, RefusedError):
        return error.status
    if isinstance(error, CancelledCallError):
        return _CLIENT_CLOSED
    # Without a package the server cannot do what was asked for: no other try would help, nor would another server do.
    if isinstance(error, (InputError, TaskError, DependencyError)):
        return 400
    return 503 if isinstance(error, (ClosedError, OutOfMemoryError)) else 500


@dataclass(frozen=True, slots=True)
class ProtocolRoutes:
    """The routes of one protocol.

    Attributes:
        name: For people, and the tag in the OpenAPI description.
        operations: The routes.
        error_body: What an error looks like: from its status, the message for the client and the error itself to
            something that becomes JSON.
        error: The type of that, for the description.
        status: The status that an error has there.
    """

    name: str
    operations: Sequence[Operation]
    error_body: ErrorBody
    error: Any
    status: Callable[[Exception], int] = status_of

    def answer_error(self, error: Exception, call: Call, headers: Mapping[str, str] | None = None) -> Response:
        """An error as an answer; one that is over after a while says when to come again."""
        status = self.status(error)
        body = describe_error(error, status, call, self.error_body)
        headers = dict(headers or {})
        if isinstance(error, RefusedError) and error.retry_after is not None:
            headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        return json_response(body, status, headers)


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(msgspec.json.encode(value, enc_hook=_encode), status, headers, "application/json")


class EventStream(Response):
    """Server-sent events: each text behind ``data:``. When the client goes away, or reads too slowly, they end."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str, None], call: Call, seconds: float) -> None:
        """Take the events.

        Args:
            events: They are closed at the end, whatever ends them.
            call: Whose they are; cancelled when nobody reads any more.
            seconds: How long a client may take for one.
        """
        super().__init__(None, 200, {"cache-control": "no-cache"})
        del self.headers["content-length"]
        self._events, self._call, self._seconds = events, call, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        sending = asyncio.ensure_future(self._send(send))
        watching = asyncio.ensure_future(wait_for_disconnect(receive))
        try:
            await asyncio.wait((sending, watching), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._call.cancelled = not sending.done() or sending.cancelled() or sending.exception() is not None
            for task in (sending, watching):
                task.cancel()
            with suppress(asyncio.CancelledError, OSError, TimeoutError):
                await sending
            await self._events.aclose()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for event in self._events:
            body = f"data: {event}\n\n".encode()
            async with asyncio.timeout(self._seconds):
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def message_of(error: Exception) -> str:
    """What a client is told of an error: nothing of the inside of one that nobody foresaw."""
    if isinstance(error, EdgepipeError):
        return str(error)
    return "the server failed; its log has the request's id"


def describe_error(error: Exception, status: int, call: Call, error_body: ErrorBody) -> Any:
    """The body of an error; one that nobody foresaw goes to the log."""
    if not isinstance(error, EdgepipeError):
        _log.error("request %s failed", call.request_id, exc_info=error)
    return error_body(status, message_of(error), error)


async def answer_request(
    request: Request, operation: Operation, protocol: ProtocolRoutes, repository: Repository, limits: Limits
) -> Response:
    """Run a handler; whatever it raises becomes the protocol's error. A client that goes away ends it."""
    call = Call(secrets.token_hex(8))
    try:
        call = read_call(request.headers, limits.seconds)
        body = await _read_body(request, limits)
        with collect_warnings(call.warnings):
            response = await _until(operation.handler(Context(request, call, repository, body)), request.receive, call)
    except Exception as error:  # noqa: BLE001 - a request never ends the server
        response = protocol.answer_error(error, call)
    for warning in _shorten(dict.fromkeys(call.warnings)):
        response.headers.append("x-warning", escape_controls(warning).encode("ascii", "replace").decode())
    response.headers["x-request-id"] = call.request_id
    return response


def _shorten(warnings: Iterable[str]) -> list[str]:
    """As much of warnings as headers can hold: Python's client takes 100 of them."""
    told = [each if len(each) <= _WARNING_LENGTH else f"{each[:_WARNING_LENGTH]}..." for each in warnings]
    return told if len(told) <= _MOST_WARNINGS else [*told[:_MOST_WARNINGS], f"and {len(told) - _MOST_WARNINGS} more"]


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client is gone; to be called when its whole body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read_body(request: Request, limits: Limits) -> bytes:
    """The body.

    Raises:
        CancelledCallError: the client went away.
        RefusedError: it is too large, or too slow.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.body:
        raise _too_large(limits.body)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.read):
            async for part in request.stream():
                size += len(part)
                if size > limits.body:
                    raise _too_large(limits.body)
                parts.append(part)
    except TimeoutError:
        raise RefusedError(408, f"the request's body took longer than {limits.read:g} seconds") from None
    except ClientDisconnect:
        raise CancelledCallError("the client went away while it sent its request") from None
    return b"".join(parts)


async def _until(handler: Awaitable[Response], receive: Receive, call: Call) -> Response:
    """What a handler gives, unless the client goes away or the time is over."""
    working = asyncio.ensure_future(handler)
    watching = asyncio.ensure_future(wait_for_disconnect(receive))
    timeout = None if call.deadline is None else max(0.0, call.deadline - time.monotonic())
    try:
        await asyncio.wait((working, watching), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        call.cancelled = True  # its pieces leave the queue, whatever the reason
        working.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await working
        if watching.done():
            raise gone_error()
        raise late_error()
    finally:
        watching.cancel()


def _too_large(most: int) -> RefusedError:
    return RefusedError(413, f"the request's body is larger than {most} bytes; send several requests")


def _encode(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
