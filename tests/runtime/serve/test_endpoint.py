"""Bodies, errors and streams: what the protocols are built of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import numpy as np
import pytest

from edgepipe.errors import (
    BundleError,
    ClosedError,
    DependencyError,
    InputError,
    NotFiniteError,
    OutOfMemoryError,
    TaskError,
)
from edgepipe.serve.call import Call, CancelledCallError, RefusedError
from edgepipe.serve.endpoint import EventStream, json_response, message_of, parse_body, status_of


class Body(msgspec.Struct):
    text: str
    count: int = 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b"{", "not JSON", id="half"),
        pytest.param(b'{"text": "\xff"}', "not JSON", id="no_utf8"),
        pytest.param(b'{"text": 1}', "Expected `str`, got `int` - at `$.text`", id="type"),
        pytest.param(b'{"count": 1}', "missing required field `text`", id="missing"),
        pytest.param(b"[" * 100_000, "the request", id="deep"),
    ],
)
def test_bodies_that_cannot_be_read(body: bytes, message: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_body(body, Body)
    assert message in str(raised.value)


def test_a_body() -> None:
    assert parse_body(b'{"text": "a", "other": 1}', Body) == Body("a")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("x"), 400),
        (TaskError("x"), 400),
        (RefusedError(429, "x"), 429),
        (CancelledCallError("x"), 499),
        (DependencyError("no"), 400),
        (ClosedError("x"), 503),
        (OutOfMemoryError("x"), 503),
        (BundleError("x"), 500),
        (NotFiniteError("x"), 500),
        (ZeroDivisionError("x"), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_statuses(error: Exception, status: int) -> None:
    assert status_of(error) == status


def test_nothing_of_the_inside_is_told() -> None:
    assert message_of(InputError("say this")) == "say this"
    assert "secret" not in message_of(RuntimeError("secret"))


def test_arrays_are_lists() -> None:
    assert json_response({"a": np.array([1.5, 2], np.float32), "b": np.float32(0.5)}).body == b'{"a":[1.5,2.0],"b":0.5}'


class Client:
    """What sends and receives for an answer, as a server does."""

    def __init__(self, leaves_after: int | None = None, takes: float = 0.0) -> None:
        self.parts: list[bytes] = []
        self._leaves_after, self._takes = leaves_after, takes
        self._left = asyncio.Event()

    async def send(self, message: Any) -> None:
        if self._takes:
            await asyncio.sleep(self._takes)
        self.parts.append(message.get("body", b""))
        if self._leaves_after is not None and len(self.parts) > self._leaves_after:
            self._left.set()
            await asyncio.sleep(0)

    async def receive(self) -> Any:
        await self._left.wait()
        return {"type": "http.disconnect"}


class Events:
    """Events, and whether they were closed."""

    def __init__(self, count: int) -> None:
        self.given, self.closed, self._count = 0, False, count

    async def make(self) -> AsyncGenerator[str, None]:
        try:
            for number in range(self._count):
                self.given += 1
                yield str(number)
                await asyncio.sleep(0.001)
        finally:
            self.closed = True


@pytest.mark.parametrize(
    ("client", "cancelled"),
    [({}, False), ({"leaves_after": 3}, True), ({"takes": 0.5}, True)],
    ids=["stays", "leaves", "reads_too_slowly"],
)
def test_a_stream_ends_with_its_client(client: dict[str, Any], cancelled: bool) -> None:
    async def run() -> tuple[Client, Events, Call]:
        reader, events, call = Client(**client), Events(200), Call()
        await EventStream(events.make(), call, 0.2)({"type": "http"}, reader.receive, reader.send)
        return reader, events, call

    reader, events, call = asyncio.run(run())
    assert events.closed
    assert call.cancelled is cancelled
    assert (events.given == 200) is not cancelled
    if not cancelled:
        assert b"".join(reader.parts) == b"".join(f"data: {number}\n\n".encode() for number in range(200))
