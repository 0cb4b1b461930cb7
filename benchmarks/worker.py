"""A worker process: it answers each line of JSON with one."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.turns import print_progress

# What contenders run in: nothing is looked up, standard error is kept for what went wrong, and modules are compiled
# once, as pip compiles those that it installs.
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)

# How an answer, or what is said once all is loaded, begins; other lines are a library's talk.
_ANSWERS = ("{", "[{", '"')


class Worker:
    """A worker's process: a context manager that waits until it is ready, and ends it.

    Raises:
        SystemExit: it failed.
    """

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by __exit__
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self._stderr, encoding="utf-8", env=ENVIRONMENT
        )

    def __enter__(self) -> Worker:
        self._read_line()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._stderr.close()

    def request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer."""
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._read_line())
        return answer

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith(_ANSWERS):
                return line
        self._stderr.seek(0)
        raise SystemExit(f"{self.name} failed:\n{self._stderr.read()}")


def measure_starts(commands: Mapping[str, list[str]], request: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Seconds from the start of a worker to its first answer, of each round; one before, which fills caches."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(-1, rounds):
        print_progress(f"starts, round {number + 1} of {rounds}")
        for name, own in found.items():
            start = time.perf_counter()
            with Worker(name, commands[name]) as worker:
                worker.request(request)
                if number >= 0:
                    own.append(time.perf_counter() - start)
    return found
