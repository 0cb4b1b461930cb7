"""Results are Python's own numbers, texts, lists and dicts in every task, so that JSON and every service take them.

A column of another library gives what the list of its texts gives, and a text that is cut is said, in every task.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest

from edgepipe import pipeline
from edgepipe.bundle.tasks import TASKS
from edgepipe.pipelines.token_classification import STRATEGIES
from tests.golden.prove_generation import built, loaded
from tests.golden.suites import suite
from tests.runtime.small_bundle import write_bundle

FOREIGN = Path(__file__).parents[2] / "data" / "foreign"
Make = Callable[..., Any]
PLAIN = {str, int, float, bool, type(None)}

TEXTS = ["a b c", "b the film", "c a"]
INPUTS: dict[str, list[Any]] = {
    "fill-mask": ["a [MASK]", "[MASK] b [MASK]", "[MASK] c"],
    "question-answering": [{"question": text, "context": f"{text} a b"} for text in TEXTS],
    "sentence-similarity": [{"source_sentence": text, "sentences": TEXTS} for text in TEXTS],
}
# What a call needs, and short texts where they are written.
NEEDED: dict[str, dict[str, Any]] = {
    "zero-shot-classification": {"candidate_labels": ["a", "b"]},
    "text-generation": {"do_sample": False, "max_new_tokens": 3},
    "text2text-generation": {"max_new_tokens": 3},
    "summarization": {"max_new_tokens": 3},
    "translation": {"max_new_tokens": 3},
}
# Further options that change what results are like.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "text-classification": [{"top_k": 2}, {"top_k": None}, {"function_to_apply": "none"}],
    "token-classification": [
        *({"aggregation_strategy": strategy, "ignore_labels": []} for strategy in STRATEGIES),
        {"stride": 1},
    ],
    "fill-mask": [{"top_k": 1}, {"targets": ["the", "a"]}],
    "question-answering": [{"top_k": 3}, {"handle_impossible_answer": True}, {"align_to_words": False}],
    "zero-shot-classification": [{"multi_label": True}, {"candidate_labels": "a"}],
    "sentence-similarity": [{"similarity": "dot"}],
    "text-generation": [{"return_full_text": False}, {"num_beams": 2, "num_return_sequences": 2}],
    "text2text-generation": [{"num_return_sequences": 2}],
}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """``make(task, **options)``: a pipeline of the task, over graphs that lie in the tree or a model in PyTorch."""
    folder = tmp_path_factory.mktemp("plain")
    labels = {"id2label": {"0": "contradiction", "1": "neutral", "2": "entailment"}}
    write_bundle(folder / "zero-shot-classification", config={"model_type": "bert", **labels})
    similar = shutil.copytree(FOREIGN / "optimum-feature-extraction", folder / "sentence-similarity")
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    (similar / "modules.json").write_text(
        json.dumps(
            [
                {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
                for index, (kind, path) in enumerate(modules)
            ]
        )
    )
    (similar / "1_Pooling").mkdir()
    width = json.loads((similar / "config.json").read_text())["hidden_size"]
    (similar / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": width, "pooling_mode_mean_tokens": True})
    )

    def made(task: str, **options: Any) -> Any:
        if TASKS[task].generates:
            return loaded(task, *built(task, *suite(task).pairs[0]), **options)
        own = folder / task
        return pipeline(task, own if own.is_dir() else FOREIGN / f"optimum-{task}", num_threads=1, **options)

    return made


def walk(value: Any) -> Iterator[type]:
    """The types in a result."""
    if type(value) is dict:
        for pair in value.items():
            yield from walk(list(pair))
    elif type(value) is list:
        for part in value:
            yield from walk(part)
    else:
        yield type(value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", TASKS)
def test_results_are_plain(task: str, make: Make) -> None:
    made, inputs = make(task), INPUTS.get(task, TEXTS)
    for options in ({}, *OPTIONS.get(task, [])):
        given = {**NEEDED.get(task, {}), **options}
        found = [made(inputs[0], **given), made(inputs, **given), *made(iter(inputs), batch_size=2, **given)]
        assert set(walk(found)) <= PLAIN, options
        assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_chats_are_plain() -> None:
    made = loaded("text-generation", *built("text-generation", "llama", "chats"), **NEEDED["text-generation"])
    assert set(walk(made([{"role": "user", "content": "Hello"}]))) == {str}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", TASKS)
def test_columns_give_what_lists_give(task: str, make: Make) -> None:
    made, inputs = make(task), INPUTS.get(task, TEXTS)
    for kept in (inputs, inputs[:1]):
        expected = made(kept, **NEEDED.get(task, {}))
        for column in (pandas.Series(kept), pyarrow.array(kept), np.array(kept, object)):
            assert made(column, **NEEDED.get(task, {})) == expected


def test_words_labels_contexts_and_embeddings_come_in_columns_too(make: Make) -> None:
    words = [["a", "b"], ["c"]]
    tag = make("token-classification", is_split_into_words=True, ignore_labels=[])
    assert tag(pandas.Series([np.array(each) for each in words])) == tag(words)
    assert tag(pandas.Series(words[0])) == tag(words[0])
    choose = make("zero-shot-classification")
    assert choose("a b", pandas.Series(["a", "b"])) == choose("a b", ["a", "b"])
    answer = make("question-answering")
    frame = pandas.DataFrame(INPUTS["question-answering"])
    assert answer(question=frame["question"], context=frame["context"]) == answer(INPUTS["question-answering"])
    embed = make("sentence-similarity").embed
    np.testing.assert_array_equal(embed(pandas.Series(TEXTS)), embed(TEXTS))


@pytest.mark.parametrize("task", [task for task in TASKS if task not in ("question-answering", "text-generation")])
def test_a_text_that_is_cut_is_said_in_every_task(task: str, make: Make) -> None:
    """Question answering reads long texts in pieces, and text generation refuses what leaves no room."""
    made = make(task)
    mark = "[MASK] " if task == "fill-mask" else ""
    inputs: list[Any] = [f"{mark}a", mark + "a b c " * 100]
    if TASKS[task].generates:
        made.decoder.max_source_length = 32  # these models have no limit
        made = type(made)(made.tokenizer, made.decoder)
    if task == "sentence-similarity":
        inputs = [{"source_sentence": "a", "sentences": [text]} for text in inputs]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made(inputs, **NEEDED.get(task, {}))
    told = [str(each.message) for each in caught if "were cut" in str(each.message)]
    assert len(told) == 1, told
    assert "1 of 2" in told[0]


def test_an_embedding_of_a_text_that_is_cut_is_said(make: Make) -> None:
    embed = make("sentence-similarity").embed
    for texts, told in ((["a", "a b c " * 100], "1 of 2"), ("a b c " * 100, "1 of 1")):
        with pytest.warns(UserWarning, match=rf"were cut at \d+ tokens, which is the limit: {told}"):
            embed(texts)


def test_a_text_in_pieces_is_not_cut(make: Make) -> None:
    tag, answer = make("token-classification", stride=4), make("question-answering")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert tag("a b c " * 100) is not None
        assert answer(question="a", context="a b c " * 100)["answer"]
