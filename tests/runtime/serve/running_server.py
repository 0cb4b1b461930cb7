"""`edgepipe serve` as a process, on a free port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx


@dataclass(slots=True)
class RunningServer:
    """A server that answers.

    Attributes:
        url: Where, e.g. ``"http://127.0.0.1:40123"``.
        process: The process.
        log: Its lines so far, as JSON.
    """

    url: str
    process: subprocess.Popen[str]
    log: list[dict[str, Any]] = field(default_factory=list)

    def metric(self, name: str) -> float:
        """A counter of all labels together, or of those that the name has."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def workers(self) -> list[int]:
        """The processes that the server has started to answer, where there are several."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_text()
            except OSError:  # no process, or one that is gone
                continue
            if int(fields[1]) == self.process.pid and "spawn_main" in command and fields[0] != "Z":
                found.append(int(folder.name))
        return sorted(found)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def serve_bundles(
    *bundles: str | Path, options: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> Iterator[RunningServer]:
    """Serve bundles, each ``PATH`` or ``NAME=PATH``, until the block ends.

    Args:
        *bundles: What is served.
        options: Of the command.
        env: More variables.
    """
    command = [sys.executable, "-m", "edgepipe", "serve", *map(str, bundles), "--port", "0", *options]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, encoding="utf-8", env={**os.environ, **(env or {})}
    )
    assert process.stderr is not None, "it was asked for"
    try:
        first = process.stderr.readline()
        assert '"port"' in first, first + process.stderr.read()
        scheme = "https" if "--certificate" in options else "http"
        server = RunningServer(f"{scheme}://127.0.0.1:{json.loads(first)['port']}", process)
        reading = threading.Thread(target=_read_log, args=(process.stderr, server.log), daemon=True)
        reading.start()
        _wait_until_ready(server)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _read_log(lines: Any, log: list[dict[str, Any]]) -> None:
    for line in lines:
        try:
            log.append(json.loads(line))
        except ValueError:
            log.append({"message": line})


def _wait_until_ready(server: RunningServer) -> None:
    with httpx.Client(verify=False, timeout=2) as client:
        for _ in range(600):
            assert server.process.poll() is None, [each.get("message") for each in server.log]
            try:
                if client.get(f"{server.url}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            threading.Event().wait(0.1)
    raise AssertionError("the server was not ready within a minute")
