"""The texts that ship with the exporter, and texts cut to what a model takes."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

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


def pack_texts(texts: Sequence[str], tokenizer: Tokenizer, length: int, most: int) -> list[NDArray[np.int64]]:
    """Long texts: each is some that follow each other, a line each, or one that is long itself.

    Args:
        texts: The texts.
        tokenizer: What makes tokens of them.
        length: How many tokens a long text has at most; all but the last one have so many.
        most: How many long texts there are at most.

    Returns:
        Their tokens, int64[2 to length] each.
    """
    packed: list[NDArray[np.int64]] = []
    waiting: list[str] = []
    counted = 0
    for number, text in enumerate(texts, 1):
        waiting.append(text)
        counted += len(tokenizer(text)["input_ids"])
        if counted >= length or number == len(texts):
            ids = np.array(tokenizer("\n".join(waiting))["input_ids"][:length], np.int64)
            if len(ids) > 1:
                packed.append(ids)
            waiting, counted = [], 0
        if len(packed) == most:
            break
    return packed
