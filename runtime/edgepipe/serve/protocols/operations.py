"""What those ask who run a server: whether it lives and is ready, what it counts; and to load its bundles again."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from edgepipe.serve.endpoint import Context, Operation, ProtocolRoutes, json_response
from edgepipe.serve.protocols.loopback import require_loopback


class Live(msgspec.Struct):
    """The process answers."""

    live: bool


class Ready(msgspec.Struct):
    """Whether every model is loaded, warm, and has passed its probes."""

    ready: bool
    models: dict[str, Any]


class Reloaded(msgspec.Struct):
    """What came of a reload: models by their new digests, and why others stayed as they were."""

    models: dict[str, str]
    failed: list[str]


class OperationErrorBody(msgspec.Struct):
    """An error."""

    error: str


async def _live(context: Context) -> Response:
    return json_response(Live(True))


async def _ready(context: Context) -> Response:
    repository = context.repository
    models = {name: model.describe() for name, model in repository.models.items()}
    return json_response(Ready(repository.is_ready, models), 200 if repository.is_ready else 503)


async def _metrics(context: Context) -> Response:
    return Response(context.repository.metrics.render(), media_type="text/plain; version=0.0.4")


async def _reload(context: Context) -> Response:
    require_loopback(context)
    failed = await context.repository.reload_all()
    models = {name: model.digest for name, model in context.repository.models.items()}
    return json_response(Reloaded(models, failed), 500 if failed else 200)


def _error(status: int, message: str, error: Exception) -> OperationErrorBody:
    return OperationErrorBody(message)


PROTOCOL = ProtocolRoutes(
    "operations",
    [
        Operation("GET", "/health/live", _live, "Whether the process answers", answer=Live, is_open=True),
        Operation("GET", "/health/ready", _ready, "Whether all models answer", answer=Ready, is_open=True),
        Operation("GET", "/metrics", _metrics, "Counters for Prometheus", content="text/plain"),
        Operation("POST", "/admin/reload", _reload, "Load all models again, from this machine alone", answer=Reloaded),
    ],
    _error,
    OperationErrorBody,
)
