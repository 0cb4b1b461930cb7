"""What comparisons are set up with: the data, the batches for calibration, and the comparison of the task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import Bundle, Tokenizer
from edgepipe.errors import InputError
from edgepipe.pipelines.registry import task_class
from edgepipe_export.calibration.dataset import BUILT_IN, Dataset
from edgepipe_export.calibration.split import measure_all
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.checkpoint.load import LoadedCheckpoint, load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.comparison import (
    calibration_batches,
    load_dataset,
    make_comparison,
    pack_long_texts,
    prepare_dataset,
    scale_cache,
)
from edgepipe_export.evaluation.encoder_comparison import EncoderComparison
from edgepipe_export.evaluation.generation_comparison import GenerationComparison
from tests.conftest import Exported
from tests.tiny import TOKENIZERS

TEXTS = ("One text.", "A second one, which is longer than the first.", "")
LONG = "word " * 100


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_pretrained(TOKENIZERS / "bert")


@pytest.fixture
def classifier(tiny_export: Callable[..., Exported]) -> tuple[Bundle, LoadedCheckpoint]:
    made = tiny_export("bert")
    return made.bundle, load(resolve(Request(made.model, "text-classification", made.tokenizer)))


def test_without_a_file_there_is_no_dataset(classifier: tuple[Bundle, LoadedCheckpoint]) -> None:
    assert load_dataset(None, classifier[1]) is None


def test_a_file_is_read_with_the_labels_of_the_checkpoint(
    classifier: tuple[Bundle, LoadedCheckpoint], tmp_path: Path
) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\nGood.,LABEL_1\n", encoding="utf-8")
    data = load_dataset(path, classifier[1])
    assert data is not None
    assert (data.inputs, data.gold, data.origin) == (("Good.",), ("LABEL_1",), "data.csv")
    path.write_text("text,label\nGood.,good\n", encoding="utf-8")
    with pytest.raises(InputError, match="the model has LABEL_0, LABEL_1, LABEL_2"):
        load_dataset(path, classifier[1])


def test_inputs_are_made_of_texts_and_cut(tokenizer: Tokenizer) -> None:
    task = task_class("text-classification")
    data = prepare_dataset(task, tokenizer, 8, texts=[*TEXTS, LONG])
    assert (len(data.inputs), data.origin, data.gold) == (4, "texts", None)
    assert max(len(tokenizer(text)["input_ids"]) for text in data.inputs) == 8
    assert prepare_dataset(task, tokenizer, None, texts=[LONG]).inputs == (LONG,)


def test_without_texts_the_built_in_ones_are_taken(tokenizer: Tokenizer) -> None:
    data = prepare_dataset(task_class("text-classification"), tokenizer, None)
    assert (data.inputs, data.origin) == (sentences(), BUILT_IN)
    assert prepare_dataset(task_class("text-generation"), tokenizer, 8).inputs == sentences(), "the search cuts them"


def test_what_the_user_gave_is_kept_and_cut(tokenizer: Tokenizer) -> None:
    given = Dataset((LONG, "short"), ("LABEL_0", "LABEL_1"), "own.csv")
    data = prepare_dataset(task_class("text-classification"), tokenizer, 8, given, texts=TEXTS)
    assert (data.gold, data.origin) == (given.gold, "own.csv")
    assert [len(tokenizer(text)["input_ids"]) for text in data.inputs] == [8, len(tokenizer("short")["input_ids"])]
    assert prepare_dataset(task_class("text-generation"), tokenizer, 8, given) is given


def test_recipes_are_calibrated_with_padded_batches(classifier: tuple[Bundle, LoadedCheckpoint]) -> None:
    bundle, _ = classifier
    batches = calibration_batches(bundle, task_class("text-classification"), Dataset(TEXTS, None, "own.txt"))
    assert len(batches) == 1
    assert {array.shape for array in batches[0].values()} == {(3, int(batches[0]["attention_mask"].sum(axis=1).max()))}
    assert all(array.dtype == np.int64 for array in batches[0].values())


def test_what_writes_is_not_calibrated(classifier: tuple[Bundle, LoadedCheckpoint]) -> None:
    with pytest.raises(InputError, match="text-generation writes token by token"):
        calibration_batches(classifier[0], task_class("text-generation"), Dataset(TEXTS, None, "own.txt"))


def test_the_task_decides_how_it_is_compared(
    classifier: tuple[Bundle, LoadedCheckpoint], writer: Callable[[str], tuple[Any, Any, Bundle]]
) -> None:
    bundle, loaded = classifier
    encoder = make_comparison(bundle, loaded, loaded.checkpoint.task, texts=TEXTS)
    assert isinstance(encoder, EncoderComparison)
    assert encoder.texts == TEXTS
    model, tokenizer, bundle = writer("gpt2")
    loaded = load(resolve(Request(model, "text-generation", tokenizer)))
    data = measure_all(Dataset(("a text of its own", "and another"), None, "own.txt", {"max_new_tokens": 7}))
    generation = make_comparison(bundle, loaded, loaded.checkpoint.task, texts=TEXTS, data=data)
    assert isinstance(generation, GenerationComparison)
    assert generation.texts == data.measured.inputs, "data goes before texts"
    assert generation._plan_requests()[1] == 7


def test_texts_that_give_no_input(classifier: tuple[Bundle, LoadedCheckpoint]) -> None:
    bundle, loaded = classifier
    with pytest.raises(InputError, match="zero-shot-classification cannot be asked about texts that are all empty"):
        make_comparison(bundle, loaded, task_class("zero-shot-classification"), texts=["", " "])


@pytest.mark.parametrize(
    ("limit", "text", "length"),
    [(None, "the sun", 512), (100, "the sun", 100), (None, "the sun " * 250, None), (None, "the sun " * 500, 1024)],
    ids=["short", "limit", "long", "longest"],
)
def test_long_texts_are_as_long_as_the_data_have_them(limit: int | None, text: str, length: int | None) -> None:
    tokenizer = Tokenizer.from_pretrained(TOKENIZERS / "gpt2")
    packed = pack_long_texts(Dataset((text,) * (20 if len(text) > 100 else 600), None, BUILT_IN), tokenizer, limit)
    assert max(map(len, packed)) == (length or len(tokenizer(text)["input_ids"]))
    assert len(packed) <= 16


def test_a_text_of_one_token_shows_nothing_of_a_cache(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="a cache in 8 bits cannot be measured"):
        pack_long_texts(Dataset((), None, BUILT_IN), tokenizer, None)


def test_a_model_without_a_cache_to_round_is_refused(classifier: tuple[Bundle, LoadedCheckpoint]) -> None:
    with pytest.raises(InputError, match="bert cannot have kv_cache_dtype="):
        scale_cache(classifier[0], Dataset(TEXTS, None, BUILT_IN))
