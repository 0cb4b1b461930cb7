"""Spans arrive where OpenTelemetry's variables say, in the trace of the client."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette

from edgepipe.serve.observability.telemetry import is_wanted, trace_requests
from tests.runtime.processes import run_python
from tests.runtime.serve.running_server import serve_bundles
from tests.runtime.small_bundle import write_bundle

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """Where spans are sent, and those that came."""
    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                spans.extend((names["service.name"], span) for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", spans
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_request_is_a_span_of_its_client_s_trace(tmp_path: Path, collector: tuple[str, list[Any]]) -> None:
    endpoint, spans = collector
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_SERVICE_NAME": "mine"}
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["secret"]}]}
    with serve_bundles(write_bundle(tmp_path / "small", ("fp32",)), env=env) as server:
        headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        answer = httpx.post(f"{server.url}/v2/models/small/infer", json=body, headers=headers)
        assert answer.status_code == 200
        server.stop()
    [span] = [span for service, span in spans if service == "mine" and span.trace_id.hex() == TRACE]
    assert span.parent_span_id.hex() == "b7ad6b7169203331"
    attributes = {each.key: str(each.value) for each in span.attributes}
    assert any("200" in value for name, value in attributes.items() if "status" in name)
    assert not any("secret" in value for value in attributes.values())


def test_nothing_is_sent_unless_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert not is_wanted()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1")
    assert is_wanted()
    assert trace_requests(Starlette()) is not None


def test_what_is_missing_is_named() -> None:
    program = """
        from edgepipe.serve.observability.telemetry import trace_requests
        try:
            trace_requests(None)
        except ImportError as error:
            print(type(error).__name__, error)
    """
    said = run_python(program, blocked=("opentelemetry",))
    assert said.startswith("DependencyError")
    assert "pip install 'edgepipe[serve,telemetry]'" in said
