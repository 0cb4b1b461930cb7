"""What those ask who run a server."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgepipe import Bundle
from edgepipe_models import default_bundle
from tests.runtime.serve.running_server import RunningServer, serve_bundles


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with serve_bundles(f"sst2={default_bundle()}") as running:
        yield running


def test_health(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/health/live").json() == {"live": True}
    ready = httpx.get(f"{server.url}/health/ready").json()
    assert ready["ready"] is True
    assert ready["models"]["sst2"]["digest"] == Bundle.load(default_bundle()).digest
    assert ready["models"]["sst2"]["task"] == "text-classification"


def test_metrics(server: RunningServer) -> None:
    answer = httpx.get(f"{server.url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"edgepipe_requests", "edgepipe_request_seconds", "edgepipe_queue_tokens", "edgepipe_batch_rows"} <= names


def test_a_model_that_is_not_loaded_makes_the_server_unready(server: RunningServer) -> None:
    httpx.post(f"{server.url}/v2/repository/models/sst2/unload")
    answer = httpx.get(f"{server.url}/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "models": {}})
    httpx.post(f"{server.url}/v2/repository/models/sst2/load")
    assert httpx.get(f"{server.url}/health/ready").status_code == 200


def test_unknown_routes(server: RunningServer) -> None:
    answer = httpx.get(f"{server.url}/other")
    assert answer.status_code == 404
    assert "there is no route GET '/other'" in answer.json()["error"]
    answer = httpx.get(f"{server.url}/admin/reload")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
