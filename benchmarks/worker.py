"""A worker process: it answers each line of JSON with one."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from typing import Any

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
