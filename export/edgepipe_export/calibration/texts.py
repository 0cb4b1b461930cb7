"""The texts that ship with the exporter, and texts cut to what a model takes."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepipe import Tokenizer

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


def truncate_text(text: str, tokenizer: Tokenizer, max_length: int) -> str:
    """As much of a text as fits into `max_length` tokens, special tokens counted."""
    wanted = max_length
    while len(tokenizer(text)["input_ids"]) > max_length and wanted > 0:
        offsets = tokenizer(text, truncation=True, max_length=wanted, return_offsets_mapping=True)["offset_mapping"]
        spans = [(start, end) for start, end in offsets if end > start]
        # A word that was cut may take more tokens than it did: then one less is kept.
        text = text[spans[0][0] : spans[-1][1]] if spans else ""
        wanted -= 1
    return text
