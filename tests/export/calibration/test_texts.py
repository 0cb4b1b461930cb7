"""The built-in texts."""

from __future__ import annotations

from edgepipe import Tokenizer
from edgepipe_export.calibration.texts import context_questions, entity_sentences, pack_texts, sentences
from tests.tiny import TOKENIZERS


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


def test_texts_that_follow_each_other_are_packed() -> None:
    tokenizer = Tokenizer.from_pretrained(TOKENIZERS / "gpt2")
    texts = ["a man", "the sun sees", "a", "it sees the old man and the new moon", "12"]
    lengths = [len(tokenizer(text)["input_ids"]) for text in texts]
    length = sum(lengths[:2])
    packed = pack_texts(texts, tokenizer, length, 9)
    joined = ["\n".join(texts[:2]), "\n".join(texts[2:4]), texts[4]]
    expected = [tokenizer(text)["input_ids"][:length] for text in joined]
    assert [ids.tolist() for ids in packed] == [ids for ids in expected if len(ids) > 1]
    assert len(packed[1]) == length
    assert len(pack_texts(texts, tokenizer, length, 1)) == 1
    assert pack_texts([], tokenizer, length, 9) == []
