"""The texts that ship with the exporter: what graphs are measured on."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

_DATA = files("edgepipe_export") / "data"


@cache
def sentences() -> tuple[str, ...]:
    """Plain English sentences of mixed length, topic and sentiment."""
    return tuple((_DATA / "sentences.txt").read_text(encoding="utf-8").splitlines())


@cache
def context_questions() -> tuple[tuple[str, str], ...]:
    """English questions, each with a context of one to five sentences; a few have no answer there."""
    _, *rows = (_DATA / "questions.tsv").read_text(encoding="utf-8").splitlines()
    return tuple((question, context) for question, context in (row.split("\t") for row in rows))


@cache
def entity_sentences() -> tuple[str, ...]:
    """Plain English sentences with names of people, places and organizations, and a few without."""
    return tuple((_DATA / "entity_sentences.txt").read_text(encoding="utf-8").splitlines())
