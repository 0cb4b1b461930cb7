"""Spans of requests for OpenTelemetry, where its variables say where to send them."""

from __future__ import annotations

import os
from typing import Any

from starlette.types import ASGIApp

from edgepipe.errors import DependencyError

# https://opentelemetry.io/docs/specs/otel/protocol/exporter/
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def is_wanted() -> bool:
    """Whether the variables name an endpoint."""
    return any(os.environ.get(name) for name in _ENDPOINTS)


def trace_requests(app: ASGIApp) -> ASGIApp:
    """An application with a span for each request: it goes on with the trace that a client's ``traceparent`` names.

    What else the SDK reads of its variables holds, e.g. ``OTEL_SERVICE_NAME``.

    Raises:
        DependencyError: the packages are missing.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise DependencyError(
            f"{' or '.join(_ENDPOINTS)} is set, and what sends spans is missing ({error}); pip install "
            "'edgepipe[serve,telemetry]', or unset it"
        ) from error
    name = os.environ.get("OTEL_SERVICE_NAME", "edgepipe")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    traced: Any = OpenTelemetryMiddleware(app, tracer_provider=provider, exclude_spans=["receive", "send"])
    found: ASGIApp = traced
    return found
