"""F1 of entities: those with the right type and the right ends, over all sentences together.

It is CoNLL 2003's and seqeval's: ``B-`` begins an entity, and so does ``I-`` of another type than the word before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgepipe_export.calibration.dataset import Words

Spans = set[tuple[str, int, int]]


def entity_f1(results: Sequence[Sequence[Mapping[str, Any]]], gold: Sequence[Words]) -> Mapping[str, float]:
    """F1, precision and recall; results are the labelled tokens of each sentence, with ``entity`` and ``start``.

    The label of a word is that of its first token.
    """
    right = found = wanted = 0
    for tokens, words in zip(results, gold, strict=True):
        labels = {token["start"]: token["entity"] for token in tokens}
        got = spans([labels.get(start, "O") for start in words.starts])
        expected = spans(words.tags)
        right += len(got & expected)
        found += len(got)
        wanted += len(expected)
    return {
        # Where there is nothing to find and nothing was found, that is right.
        "f1": 2 * right / (found + wanted) if found + wanted else 1.0,
        "precision": right / found if found else float(wanted == 0),
        "recall": right / wanted if wanted else float(found == 0),
    }


def spans(tags: Sequence[str]) -> Spans:
    """The entities in a sentence's tags, as (type, first word, word behind the last)."""
    entities: Spans = set()
    kind, start = "", 0
    for index, tag in enumerate([*tags, "O"]):
        prefix, dash, name = tag.partition("-")
        if not dash or prefix not in ("B", "I"):  # "O", or labels without a scheme, where equal neighbours are one
            prefix, name = "I", "" if tag == "O" else tag
        if name == kind and prefix == "I":
            continue
        if kind:
            entities.add((kind, start, index))
        kind, start = name, index
    return entities
