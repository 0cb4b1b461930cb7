"""A real server in a process of its own, on a free port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Attributes:
        process: Its process.
        url: Where it listens.
        log: What it prints.
    """

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def stop(self) -> int:
        """Ask it to end; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serve(folder: Path, log: Path, options: Sequence[str] = (), **environment: str) -> Iterator[Server]:
    """``uvicorn app:app`` in a folder, until it answers ``/health``; it is ended afterwards.

    Raises:
        AssertionError: it ends, or fails, before it answers; the message is what it printed.
    """
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(folder), "--port", str(port), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(url, process, log)
        yield Server(process, url, log)
    finally:
        process.kill()
        process.wait(timeout=60)


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for an answer of ``/health``."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            status = httpx.get(f"{url}/health").status_code
            assert status == 200, log.read_text()
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"no answer within two minutes:\n{log.read_text()}")
