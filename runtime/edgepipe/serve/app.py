"""The ASGI application: every protocol's routes on one repository of models."""

from __future__ import annotations

import asyncio
import hmac
import logging
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, compile_path

from edgepipe.errors import EdgepipeError
from edgepipe.serve.call import Call, RefusedError
from edgepipe.serve.endpoint import Operation, ProtocolRoutes, answer_request, json_response
from edgepipe.serve.observability.metrics import ServerMetrics
from edgepipe.serve.observability.request_log import RequestLog
from edgepipe.serve.observability.telemetry import is_wanted, trace_requests
from edgepipe.serve.openapi import describe
from edgepipe.serve.protocols import embeddings_inference, hub_inference, open_inference, operations
from edgepipe.serve.protocols.openai import openai_routes
from edgepipe.serve.repository import Repository
from edgepipe.serve.settings import ServeSettings

# The first one says errors of routes that no protocol has.
PROTOCOLS: tuple[ProtocolRoutes, ...] = (
    operations.PROTOCOL,
    open_inference.PROTOCOL,
    openai_routes.PROTOCOL,
    embeddings_inference.PROTOCOL,
    hub_inference.PROTOCOL,
)


def create_app(settings: ServeSettings) -> Starlette:
    """The application; it loads its models when it starts, and answers what it has when it ends.

    Args:
        settings: Its models, limits and keys.
    """
    repository = Repository(settings, ServerMetrics())

    @asynccontextmanager
    async def live(app: Starlette) -> AsyncIterator[None]:
        if not repository.models:
            try:
                await repository.load_all()
            except EdgepipeError:  # it was logged; uvicorn would log where it was raised
                logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
                raise
        if threading.current_thread() is threading.main_thread():
            reloading: set[asyncio.Task[object]] = set()

            def reload() -> None:
                task: asyncio.Task[object] = asyncio.create_task(repository.reload_all())
                reloading.add(task)
                task.add_done_callback(reloading.discard)

            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
        try:
            yield
        finally:
            await repository.close()

    description = json_response(describe(PROTOCOLS))

    async def openapi(request: Request) -> Response:
        return description

    app = Starlette(
        routes=[
            *(_route(operation, protocol, repository) for protocol in PROTOCOLS for operation in protocol.operations),
            Route("/openapi.json", openapi, methods=["GET"]),
        ],
        middleware=[
            *([Middleware(trace_requests)] if is_wanted() else []),
            Middleware(RequestLog, metrics=repository.metrics),
            *(
                [Middleware(CORSMiddleware, allow_origins=settings.origins, allow_methods=["*"], allow_headers=["*"])]
                if settings.origins
                else []
            ),
        ],
        exception_handlers={HTTPException: _answer_unknown},
        lifespan=live,
    )
    app.router.redirect_slashes = False
    app.state.repository = repository
    return app


def _route(operation: Operation, protocol: ProtocolRoutes, repository: Repository) -> Route:
    settings = repository.settings

    async def answer(request: Request) -> Response:
        request.scope["edgepipe.route"] = protocol.name, operation.path
        if not operation.is_open and not _has_key(request, settings.keys):
            error = RefusedError(401, "a key is needed: Authorization: Bearer KEY")
            return protocol.answer_error(error, Call(), {"www-authenticate": "Bearer"})
        return await answer_request(request, operation, protocol, repository, settings.limits)

    return Route(operation.path, answer, methods=[operation.method])


def _has_key(request: Request, keys: tuple[str, ...]) -> bool:
    """Whether a request has one of the keys; how long this takes tells nothing of them."""
    if not keys:
        return True
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    found = False
    for key in keys:
        found |= hmac.compare_digest(given.encode(), key.encode())
    return found and scheme.lower() == "bearer"


async def _answer_unknown(request: Request, error: Exception) -> Response:
    """What is said of a route that is not there, or not for a method."""
    assert isinstance(error, HTTPException), "registered for these"
    known = " ".join(sorted({op.path for each in PROTOCOLS for op in each.operations}))
    message = f"there is no route {request.method} {request.url.path!r:.120}; those here are {known}"
    if error.status_code != 404:
        message = f"{request.url.path} is not for {request.method}: {error.detail}"
    protocol = _find_protocol(request.scope["path"])
    return protocol.answer_error(RefusedError(error.status_code, message), Call(), error.headers)


def _find_protocol(path: str) -> ProtocolRoutes:
    """The protocol that has a path; where none has, the first one with a route that begins alike."""
    owners = [each for each in PROTOCOLS if any(compile_path(op.path)[0].match(path) for op in each.operations)]
    alike = [each for each in PROTOCOLS if any(op.path.split("/")[1] == path.split("/")[1] for op in each.operations)]
    return [*owners, *alike, PROTOCOLS[0]][0]
