"""Runs the Python on a page, in its order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.documentation.pages import snippets

# Needs checkpoints of several languages, whose tasks have tests of their own.
ELSEWHERE = "translate = pipeline("


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
        if snippet.language == "python" and not snippet.code.startswith(ELSEWHERE):
            exec(compile("\n" * (snippet.line - 1) + snippet.code, page, "exec"), names)
    return names


@contextmanager
def called(folder: Path, bundle: str, name: str) -> Iterator[None]:
    """A bundle under the name that a page has for it, while a block runs."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(folder / bundle)
    try:
        yield
    finally:
        (folder / name).unlink()
