"""The other pure parts of the training code."""

from pathlib import Path
from random import Random

import pytest

from training.augmentation import Augmenter, detokenize, random_span
from training.data import Example, batches_by_length, read_examples


def test_examples_are_read_once_each(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text("good film\t1\nbad film\t0\ngood film\t1\n", encoding="utf-8")
    assert read_examples(path) == [Example("good film", 1), Example("bad film", 0)]


@pytest.mark.parametrize("line", ["no tab", "text\t2", "text\tpositive"])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "train.tsv"
    path.write_text(f"good film\t1\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 2: expected"):
        read_examples(path)


def test_batches_hold_every_index_once_within_the_budget() -> None:
    lengths = [Random(0).randrange(1, 60) for _ in range(50)] + [500]
    batches = list(batches_by_length(lengths, 128))
    assert sorted(index for batch in batches for index in batch) == list(range(51))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 128 for batch in batches)
    assert batches[-1] == [50]


def test_a_span_is_consecutive_words() -> None:
    words = ["one", "long", "string", "of", "cliches"]
    rng = Random(0)
    spans = [random_span(words, rng) for _ in range(200)]
    assert all(" ".join(span) in " ".join(words) and span for span in spans)
    assert {len(span) for span in spans} == {1, 2, 3, 4, 5}


def test_treebank_contractions_are_written_as_people_write_them() -> None:
    written = {detokenize(["it", "does", "n't", "work", "and", "he", "'s", "sad"], Random(seed)) for seed in range(40)}
    assert "it doesn't work and he's sad" in written
    assert "it doesn't work and he's sad!" in written
    assert "it doesn\N{RIGHT SINGLE QUOTATION MARK}t work and he\N{RIGHT SINGLE QUOTATION MARK}s sad" in written


def test_the_same_seed_draws_the_same_texts() -> None:
    sentences = [["a", "fine", "and", "funny", "film"], ["it", "is", "not", "worth", "seeing"]]
    augmenter = Augmenter(sentences, {"funny": ["amusing"]}, ["table"])
    rng, again = Random(1), Random(1)
    drawn = [augmenter.draw(rng) for _ in range(300)]
    assert drawn == [augmenter.draw(again) for _ in range(300)]
    words = {word for text in drawn for word in text}
    assert {"amusing", "table", "[MASK]", "but"} <= words
    assert all(drawn)
