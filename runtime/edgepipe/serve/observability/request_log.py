"""A line for each request, with its id and W3C trace context, and the counters of requests."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgepipe.errors import escape_controls
from edgepipe.serve.observability.metrics import ServerMetrics

_log = logging.getLogger("edgepipe.serve.requests")

# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACE_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class RequestLog:
    """Middleware that logs and counts each request when its answer is complete.

    Args:
        app: What answers.
        metrics: Counts.
    """

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and log."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        record: dict[str, Any] = {"method": scope["method"], "path": escape_controls(scope["path"])}
        trace = read_trace(scope)
        status = 499  # a client that goes away before there is an answer

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                record["request_id"] = next((value.decode() for name, value in headers if name == b"x-request-id"), "")
                if trace is not None:
                    headers.append((b"traceparent", f"00-{trace[0]}-{trace[1]}-{trace[2]}".encode()))
            await send(message)

        self._metrics.running.inc()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            self._metrics.running.dec()
            seconds = time.perf_counter() - begin
            protocol, route = scope.get("edgepipe.route", ("none", "none"))
            self._metrics.requests.labels(protocol, route, status).inc()
            self._metrics.seconds.labels(protocol, route).observe(seconds)
            if _log.isEnabledFor(logging.INFO):
                record |= {"status": status, "milliseconds": round(seconds * 1000, 3)}
                if trace is not None:
                    record |= {"trace_id": trace[0], "span_id": trace[1]}
                _log.info("%s", route, extra={"record": record})


def read_trace(scope: Scope) -> tuple[str, str, str] | None:
    """The trace that a request belongs to, an id for its part here, and its flags; None where it belongs to none."""
    for name, value in scope["headers"]:
        if name == b"traceparent":
            found = _TRACE_PARENT.fullmatch(value.decode("latin-1"))
            return None if found is None else (found[1], secrets.token_hex(8), found[3])
    return None


class JsonFormatter(logging.Formatter):
    """A line of JSON for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """See :class:`logging.Formatter`."""
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "message": escape_controls(record.getMessage()),
        }
        line |= getattr(record, "record", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()
