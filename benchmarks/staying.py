"""A program that stays and answers each line of JSON that it is asked with one."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from typing import Any

# What contenders run in: nothing is looked up, and standard error is kept for what went wrong.
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

# How an answer, or what is said once all is loaded, begins; other lines are a library's talk.
_ANSWERS = ("{", "[{", '"')


class Staying:
    """The program's process; a context manager that waits until it is ready, and ends it.

    Raises:
        SystemExit: it failed.
    """

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._problems = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by __exit__
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self._problems, encoding="utf-8", env=ENVIRONMENT
        )

    def __enter__(self) -> Staying:
        self._line()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._problems.close()

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """What it tells of a question."""
        assert self._process.stdin is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        told: dict[str, Any] = json.loads(self._line())
        return told

    def _line(self) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith(_ANSWERS):
                return line
        self._problems.seek(0)
        raise SystemExit(f"{self.name} failed:\n{self._problems.read()}")
