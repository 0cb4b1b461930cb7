"""A head that does not come in time: of a new connection, of one that was used, and of one that sends byte by byte."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.runtime.serve.running_server import RunningServer, serve_bundles
from tests.runtime.small_bundle import write_bundle

GET = b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    small = write_bundle(tmp_path_factory.mktemp("small") / "small", ("fp32",))
    with serve_bundles(small, options=("--read-timeout", "0.7")) as running:
        yield running


@pytest.fixture
def connection(server: RunningServer) -> Iterator[socket.socket]:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as made:
        made.settimeout(20)
        yield made


def receive(connection: socket.socket) -> bytes:
    """A whole answer."""
    found = b""
    while not found.endswith(b"}"):
        found += connection.recv(4096)
    return found


def test_one_that_says_nothing(connection: socket.socket) -> None:
    assert connection.recv(100) == b""


def test_one_that_was_used(connection: socket.socket) -> None:
    connection.sendall(GET)
    assert b"200 OK" in receive(connection)
    connection.sendall(GET[:10])
    assert connection.recv(100) == b""


def test_one_that_sends_byte_by_byte(connection: socket.socket) -> None:
    with pytest.raises(OSError, match=r"reset|pipe|abort"):  # noqa: PT012 - which byte is the last is not known
        for _ in range(100):
            connection.sendall(b"G" if _ == 0 else b"E" if _ == 1 else b"T" if _ == 2 else b" ")
            time.sleep(0.1)


def test_one_that_is_quick(connection: socket.socket) -> None:
    for _ in range(3):
        connection.sendall(GET)
        assert b"200 OK" in receive(connection)
        time.sleep(0.3)
