"""Runs the Python on a page, in its order."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.documentation.pages import snippets

# Needs checkpoints of several languages, whose tasks have tests of their own.
ELSEWHERE = "translate = pipeline("
# Needs optimum-onnx, which has an environment of its own (`run_elsewhere`).
NEEDS_OPTIMUM = 'backend="onnx"'


def run_page(page: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run a page's Python from its beginning to its end, in the folder at hand.

    Args:
        page: The page's name.
        given: What the page leaves to its reader, by name.

    Returns:
        What it has defined by then.
    """
    names: dict[str, Any] = dict(given or {})
    for snippet in snippets(page):
        if snippet.language != "python" or snippet.code.startswith(ELSEWHERE) or NEEDS_OPTIMUM in snippet.code:
            continue
        exec(compile("\n" * (snippet.line - 1) + snippet.code, page, "exec"), names)
    return names


def run_elsewhere(python: Path, code: str, name: str) -> Any:
    """Run a program in another environment, in the folder at hand.

    Args:
        python: The environment's interpreter.
        code: The program.
        name: What is asked for.

    Returns:
        The value of that name in the end, as JSON has it: arrays are lists.

    Raises:
        AssertionError: the program fails; the message is its standard error.
    """
    telling = f'\nimport json; print("TOLD", json.dumps({name}, default=lambda value: value.tolist()))'
    done = subprocess.run([str(python), "-c", code + telling], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [told] = [line.removeprefix("TOLD ") for line in done.stdout.splitlines() if line.startswith("TOLD ")]
    return json.loads(told)


@contextmanager
def called(folder: Path, bundle: str, name: str) -> Iterator[None]:
    """A bundle under the name that a page has for it, while a block runs."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(folder / bundle)
    try:
        yield
    finally:
        (folder / name).unlink()
