"""The application of a replica, by itself: who asks, and when a bundle that was let go is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgepipe.errors import ClosedError
from edgepipe.ray.replica_app import LoadedBundle, MultiplexedApp, ReplicaApp, hide_client
from edgepipe.serve.settings import ServedBundle, ServeSettings


@pytest.fixture
def settings(bundle: Path) -> ServeSettings:
    return ServeSettings((ServedBundle("mood", str(bundle)),))


def ask(app: Any, path: str, **options: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://replica") as client:
            return await client.request(options.pop("method", "GET"), path, **options)

    return asyncio.run(send())


def test_the_client_is_hidden_and_the_rest_stays() -> None:
    scope = {"type": "http", "path": "/", "client": ("127.0.0.1", 5)}
    assert hide_client(scope) == {"type": "http", "path": "/", "client": ("ray-serve", 0)}
    assert hide_client({"type": "lifespan"}) == {"type": "lifespan"}


def test_routes_that_change_a_replica_alone_are_refused(settings: ServeSettings) -> None:
    assert ask(ReplicaApp(settings), "/admin/reload", method="POST").status_code == 403


def test_a_replica_has_the_server_s_routes(settings: ServeSettings) -> None:
    assert ask(ReplicaApp(settings), "/health/live").json() == {"live": True}


def run_loaded(settings: ServeSettings, check: Callable[[LoadedBundle, Any], Any]) -> None:
    async def load() -> None:
        loaded = await MultiplexedApp(settings).load("mood")
        (model,) = loaded._app.state.repository.models.values()
        await check(loaded, model)

    asyncio.run(load())


def test_a_bundle_that_is_let_go_is_closed(settings: ServeSettings) -> None:
    async def check(loaded: LoadedBundle, model: Any) -> None:
        loaded.__del__()
        with pytest.raises(ClosedError):
            model.task("good")

    run_loaded(settings, check)


def test_one_that_answers_is_closed_afterwards(settings: ServeSettings) -> None:
    async def check(loaded: LoadedBundle, model: Any) -> None:
        sent: list[Any] = []
        body = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            if not body:
                await asyncio.Event().wait()  # the client stays
            loaded.__del__()  # in the middle of the request
            assert model.task("good")
            return body.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/health/live", "headers": [], "query_string": b""}
        await loaded.answer(scope, receive, send)
        assert sent[0]["status"] == 200
        with pytest.raises(ClosedError):
            model.task("good")

    run_loaded(settings, check)
