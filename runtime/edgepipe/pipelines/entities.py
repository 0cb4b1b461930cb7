"""From labelled tokens to entities, by the rules of transformers' ``TokenClassificationPipeline`` (5.23)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Entity = dict[str, Any]
Join = Callable[[list[str]], str]


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token that is part of the text.

    Attributes:
        word: The token as the vocabulary writes it; an unknown one as the text does.
        scores: float32[labels], probabilities.
        index: Its position in the piece, special tokens counted.
        start: First character in the text.
        end: The character behind its last.
        is_subword: Whether it continues the word of the token before it.
    """

    word: str
    scores: NDArray[np.float32]
    index: int
    start: int
    end: int
    is_subword: bool


def aggregate_words(tokens: Sequence[ScoredToken], strategy: str, labels: Sequence[str], join: Join) -> list[Entity]:
    """One label a word, so that the parts of a word cannot disagree.

    Args:
        tokens: In the order of the text.
        strategy: ``"first"`` takes the first token's scores, ``"max"`` those of the token that is surest,
            ``"average"`` the mean over the tokens.
        labels: In the order of the scores.
        join: Makes a text of tokens.
    """
    words: list[list[ScoredToken]] = []
    for token in tokens:
        if words and token.is_subword:
            words[-1].append(token)
        else:
            words.append([token])
    return [aggregate_word(word, strategy, labels, join) for word in words]


def aggregate_word(tokens: Sequence[ScoredToken], strategy: str, labels: Sequence[str], join: Join) -> Entity:
    """One entity of the tokens of a word, by the strategy."""
    if strategy == "first":
        scores = tokens[0].scores
    elif strategy == "max":
        scores = max(tokens, key=lambda token: token.scores.max()).scores
    else:
        scores = np.nanmean(np.stack([token.scores for token in tokens]), axis=0)
    best = int(scores.argmax())
    return {
        "entity": labels[best],
        "score": scores[best],
        "word": join([token.word for token in tokens]),
        "start": tokens[0].start,
        "end": tokens[-1].end,
    }


def group_entities(entities: Sequence[Entity], join: Join) -> list[Entity]:
    """Neighbors of one label become one entity; ``B-`` starts a new one. Labels without a prefix count as ``I-``."""
    groups: list[list[Entity]] = []
    for entity in entities:
        begins, tag = _tag(entity["entity"])
        if groups and not begins and tag == _tag(groups[-1][-1]["entity"])[1]:
            groups[-1].append(entity)
        else:
            groups.append([entity])
    return [
        {
            "entity_group": group[0]["entity"].split("-", 1)[-1],
            "score": np.nanmean([entity["score"] for entity in group]),
            "word": join([entity["word"] for entity in group]),
            "start": group[0]["start"],
            "end": group[-1]["end"],
        }
        for group in groups
    ]


def aggregate_overlapping_entities(entities: Sequence[Entity]) -> list[Entity]:
    """Of entities that overlap, as pieces of a text with a stride give them, the longest; of equals the surest."""
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda entity: entity["start"]):
        if not kept or not kept[-1]["start"] <= entity["start"] < kept[-1]["end"]:
            kept.append(entity)
        elif _rank(entity) > _rank(kept[-1]):
            kept[-1] = entity
    return kept


def _rank(entity: Entity) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]


def _tag(label: str) -> tuple[bool, str]:
    """Whether a label begins an entity, and its name without ``B-`` or ``I-``."""
    if label.startswith(("B-", "I-")):
        return label.startswith("B-"), label[2:]
    return False, label
