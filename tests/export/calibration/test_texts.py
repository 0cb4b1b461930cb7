"""The built-in texts."""

from __future__ import annotations

from edgepipe_export.calibration.texts import context_questions, entity_sentences, sentences


def test_the_built_in_texts_are_a_few_hundred() -> None:
    assert len(set(sentences())) == len(sentences()) >= 200
    assert len(set(entity_sentences())) == len(entity_sentences()) >= 150
    assert not set(entity_sentences()) & set(sentences())


def test_the_built_in_questions_are_different_and_so_are_most_contexts() -> None:
    asked, contexts = zip(*context_questions(), strict=True)
    assert len(set(asked)) == len(asked) >= 150
    assert all(question.endswith("?") for question in asked)
    assert len(set(contexts)) >= 120
    assert max(map(contexts.count, contexts)) == 2
