"""One server with a tiny bundle for each task that reads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
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


@pytest.fixture(scope="session")
def full_server(tiny_bundles: Mapping[str, Path]) -> Iterator[httpx.Client]:
    """A client of a server in whose queue one token waits: of a request with many texts most are refused at once.

    An input that comes to an empty queue is always taken. But a request's texts enter it together, in less time than
    the graph needs for the first; and of those that are written one is written at a time.
    """
    names = ("mood", "reranker", "entities", "answers", "masks", "zero", "hidden", "sentences", "stories", "rewrites")
    bundles = [tiny_bundles[name] for name in names]
    with (
        serve_bundles(*bundles, options=["--max-queue", "1", "--max-rows", "1", "--threads", "1"]) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        yield client


def ask_while_it_is_unloaded(client: httpx.Client, model: str, path: str, body: Any) -> httpx.Response:
    """The answer to a request whose texts are being read when its model is unloaded; then it is loaded again.

    When the server begins to read cannot be seen from outside, so this is tried with longer and longer pauses.

    Args:
        client: Of a server that does nothing else.
        model: The model.
        path: The route.
        body: JSON with texts that take seconds to be read.
    """
    for pause in (0.1, 0.2, 0.4, 0.8, 1.6):
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(client.post, path, json=body)
            time.sleep(pause)
            assert client.post(f"/v2/repository/models/{model}/unload").status_code == 200
            response = asked.result()
        assert client.post(f"/v2/repository/models/{model}/load").status_code == 200
        if "is not loaded" not in response.text:  # it came too late
            return response
    raise AssertionError("the model was always gone before the request was there")
