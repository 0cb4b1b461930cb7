"""token-classification with real weights: the bundle finds the entities that PyTorch finds.

On the first 300 sentences of wikiann's dev set; on all 10,000, in some three minutes, with::

    pytest -m coverage tests/golden/test_real_entities.py
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import transformers

from edgepipe import Bundle, pipeline
from edgepipe_export import export
from tests.conftest import shared
from tests.golden.compare import assert_same

A_FEW = 300

Spans = set[tuple[str, int, int]]


def sentences(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Words and labels of each sentence of a CoNLL file whose words have a language prefix."""
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        rows = [line.rsplit("\t", 1) for line in block.splitlines() if line.strip()]
        if rows:
            yield [word.split(":", 1)[1] for word, _ in rows], [label for _, label in rows]


def spans(labels: Sequence[str]) -> Spans:
    """Entities as (type, first word, word behind the last), where B- begins one and so does I- of another type."""
    found: Spans = set()
    start = 0
    for index in range(1, len(labels) + 1):
        before, label = labels[index - 1], labels[index] if index < len(labels) else "O"
        if label != "I-" + before[2:]:
            if before != "O":
                found.add((before[2:], start, index))
            start = index
    return found


def f1(expected: Sequence[Spans], found: Sequence[Spans]) -> float:
    """Of entities with the right type and the right ends, over all sentences together."""
    correct = sum(len(one & other) for one, other in zip(expected, found, strict=True))
    return 2 * correct / (sum(map(len, expected)) + sum(map(len, found)))


def word_labels(words: Sequence[str], entities: Sequence[dict[str, Any]]) -> list[str]:
    """The label of each word's first token."""
    starts = {}
    position = 0
    for index, word in enumerate(words):
        starts[position] = index
        position += len(word) + 1
    labels = ["O"] * len(words)
    for entity in entities:
        if entity["start"] in starts:
            labels[starts[entity["start"]]] = entity["entity"]
    return labels


def test_f1_is_as_seqeval_defines_it() -> None:
    assert spans(["B-PER", "I-PER", "O", "I-LOC", "B-LOC", "I-ORG"]) == {
        ("PER", 0, 2), ("LOC", 3, 4), ("LOC", 4, 5), ("ORG", 5, 6),
    }  # fmt: skip
    assert spans(["O", "O"]) == set()
    assert f1([{("PER", 0, 2)}, {("LOC", 1, 2)}], [{("PER", 0, 2)}, {("LOC", 1, 3)}]) == 0.5


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    return shared("checkpoints", "minilm-ner", "model.safetensors").parent


@pytest.fixture(scope="module")
def data() -> Path:
    return shared("data", "wikiann", "dev.conll")


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(checkpoint, tmp_path_factory.mktemp("ner") / "bundle", verify=False)


@pytest.mark.parametrize("count", [A_FEW, pytest.param(None, marks=pytest.mark.coverage)])
def test_f1_equals_pytorch_s(checkpoint: Path, data: Path, bundle: Bundle, count: int | None) -> None:
    pairs = sorted(sentences(data), key=lambda pair: len(pair[0])) if count is None else list(sentences(data))[:count]
    words = [words for words, _ in pairs]
    expected = [spans(labels) for _, labels in pairs]
    reference = transformers.pipeline("token-classification", model=str(checkpoint), device="cpu")
    theirs = reference(words, is_split_into_words=True, batch_size=32 if count is None else 8)
    ours = pipeline("token-classification", bundle)(words, is_split_into_words=True, batch_size=8)
    assert_same(ours, theirs)
    scores = [f1(expected, [spans(word_labels(*pair)) for pair in zip(words, side, strict=True)])
              for side in (ours, theirs)]  # fmt: skip
    assert round(scores[0], 4) == round(scores[1], 4)
    assert scores[1] > 0.5, "a model that finds nothing would prove nothing"
