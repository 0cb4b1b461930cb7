"""One server with a tiny bundle for each task that reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgepipe import pipeline
from tests.runtime.serve.running_server import RunningServer, serve_bundles


@dataclass(frozen=True)
class TinyServer:
    """The server, and pipelines of the same bundles.

    Attributes:
        server: The process.
        client: Asks it.
        tasks: Pipelines by the models' names.
    """

    server: RunningServer
    client: httpx.Client
    tasks: Mapping[str, Any]

    def post(self, path: str, body: Any) -> httpx.Response:
        """Send JSON."""
        return self.client.post(path, json=body)

    def ask(self, path: str, **body: Any) -> Any:
        """The result of a request that is to succeed."""
        response = self.post(path, body)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture(scope="session")
def tiny_server(tiny_bundles: Mapping[str, Path]) -> Iterator[TinyServer]:
    """A server that takes up to 16 texts a request."""
    options = ["--max-texts", "16", "--threads", "1"]
    with (
        serve_bundles(*tiny_bundles.values(), options=options) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        tasks = {name: pipeline(model=path, num_threads=1) for name, path in tiny_bundles.items()}
        yield TinyServer(server, client, tasks)
