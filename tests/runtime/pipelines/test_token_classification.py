"""Entities beside the methods of transformers' pipeline, on random tokens."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import TokenClassificationPipeline
from transformers.pipelines.token_classification import AggregationStrategy

from edgepipe.pipelines.token_classification import (
    Entity,
    ScoredToken,
    aggregate_overlapping_entities,
    aggregate_words,
    group_entities,
)
from tests.golden.compare import assert_same

SCHEMES = [
    ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
    ("NOUN", "VERB-PAST", "B", "I", "B-"),
    ("O", "I-PER", "E-PER", "S-PER", "L-A-B"),
]


class Reference(TokenClassificationPipeline):  # type: ignore[misc]
    """The pipeline's methods without a model: they need its labels and a way to join tokens."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.model = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(labels))))
        self.tokenizer = SimpleNamespace(convert_tokens_to_string="+".join)


@st.composite
def tokens_of(draw: st.DrawFn, labels: int) -> list[ScoredToken]:
    count = draw(st.integers(min_value=0, max_value=12))
    generator = np.random.default_rng(draw(st.integers(min_value=0, max_value=10**6)))
    tokens = []
    start = 0
    for index in range(count):
        start += draw(st.integers(min_value=0, max_value=2))
        end = start + draw(st.integers(min_value=0, max_value=4))
        scores = generator.dirichlet(np.ones(labels)).astype(np.float32)
        word = draw(st.sampled_from(["a", "##b", "▁c", "", "é"]))
        tokens.append(ScoredToken(word, scores, index + 1, start, end, draw(st.booleans())))
        start = end
    return tokens


def before(token: ScoredToken) -> dict[str, Any]:
    return {
        "word": token.word,
        "scores": token.scores,
        "start": token.start,
        "end": token.end,
        "index": token.index,
        "is_subword": token.is_subword,
    }


def plain(entities: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entities with a number of Python's, as they leave the pipeline."""
    return [entity | {"score": float(entity["score"])} for entity in entities]


@pytest.mark.parametrize("labels", SCHEMES)
@pytest.mark.parametrize("strategy", ["first", "average", "max"])
@given(data=st.data())
@settings(deadline=None, max_examples=50)
def test_words_and_groups(labels: tuple[str, ...], strategy: str, data: st.DataObject) -> None:
    tokens = data.draw(tokens_of(len(labels)))
    reference = Reference(labels)
    join = reference.tokenizer.convert_tokens_to_string
    words = aggregate_words(tokens, strategy, labels, join)
    expected = reference.aggregate_words([before(token) for token in tokens], AggregationStrategy(strategy))
    assert_same(plain(words), expected)
    assert_same(plain(group_entities(words, join)), reference.group_entities(expected))


@given(
    st.lists(
        st.builds(
            lambda start, length, score: {"entity_group": "A", "score": score, "start": start, "end": start + length},
            st.integers(min_value=0, max_value=20),
            st.integers(min_value=0, max_value=6),
            st.sampled_from([0.25, 0.5, 0.75]),
        ),
        max_size=15,
    )
)
@settings(deadline=None)
def test_overlaps(entities: list[Entity]) -> None:
    # An entity without characters makes the reference list its first twice; no tokenizer gives one at the start.
    first = min(entities, key=lambda entity: entity["start"], default=None)
    assume(first is None or first["end"] > first["start"])
    assert aggregate_overlapping_entities(entities) == Reference(()).aggregate_overlapping_entities(entities)


def test_of_equal_entities_the_surest_stays() -> None:
    entities = [{"start": 0, "end": 4, "score": 0.2}, {"start": 0, "end": 4, "score": 0.9}]
    assert aggregate_overlapping_entities(entities) == entities[1:]
    assert aggregate_overlapping_entities([]) == []
